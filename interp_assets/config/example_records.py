"""A dictionary record of each kind to start from; `interp dictionaries --example <kind>` prints it."""

RECORD = """\
# One dictionary. Register it with: interp register my-dictionary.yaml
{head}token_sample:
  corpus: ["hf:monology/pile-uncopyrighted#text@train"]   # also text:, jsonl:, parquet: and the packaged texts
  n_tokens: 10000000
  context_tokens: 256
  seed: 0
# features: {{count: 200}}                 # treat 200 features spread over the dictionary; leave out to treat all
# features: [0, 3]                       # or these
# features: {{file: ids.txt}}              # or the feature numbers that a text file lists
# features: {{where: "token_density BETWEEN 1e-4 AND 1e-2"}}   # or a condition over the statistics of the harvest
{stages}"""
RANGE_STAGES = """\
# stages:                                # override any default, see docs/settings.md
#   examples: {n_shown: 20}
"""

HEADS = {
    "sae_lens": """\
key: gemma-2-2b/20/gemmascope-16k        # <model>/<layer>/<name>
model:
  source: google/gemma-2-2b              # hub id, local folder, or embedded:smollm2-135m-instruct
  # revision: main                       # commit, branch or tag; registration writes the commit, without it the newest
hook: blocks.20.hook_resid_post          # TransformerLens name, or a module path such as model.layers.20
kind: sae_lens                           # KINDS
source: gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical   # SAELens release/id, or a folder
# revision: main                         # commit, branch or tag of a source on the hub; registration writes the commit
width: 16384
# output_hook: blocks.20.hook_mlp_out    # where a transcoder writes, if its configuration does not say
""",
    "gemma_scope": """\
key: gemma-2-2b/20/res-16k-l0-71
model: {source: google/gemma-2-2b}
hook: blocks.20.hook_resid_post
kind: gemma_scope
source: google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71   # or a folder or file params.npz
width: 16384
# output_hook: blocks.20.hook_mlp_out    # for a transcoder; it reads blocks.20.ln2.hook_normalized
# source: google/gemma-scope-2-1b-pt/clt/width_262k_l0_big   # a cross-layer transcoder: the features that read hook, or all of reads
# reads: [blocks.7.hook_resid_post, blocks.13.hook_resid_post]   # of a crosscoder, instead of hook
# writes: [blocks.13.hook_resid_post]    # take their rows at these hooks alone
""",
    "sparsify": """\
key: llama-3-8b/10/sparsify-32x
model: {source: meta-llama/Meta-Llama-3-8B}
hook: model.layers.10                    # sparsify's layers.10 is the output of that module
kind: sparsify
source: EleutherAI/sae-llama-3-8b-32x/layers.10   # or a folder with cfg.json and sae.safetensors
width: 131072
# hook: model.layers.10.mlp:input        # a transcoder reads what goes into the module
# output_hook: model.layers.10.mlp       # and writes what comes out of it
""",
    "dictionary_learning": """\
key: pythia-70m/03/topk-4k
model: {source: EleutherAI/pythia-70m-deduped}
hook: blocks.3.hook_resid_post
kind: dictionary_learning
source: /data/dictionaries/resid_post_layer_3/trainer_0   # a folder with ae.pt and config.json, here or owner/repository/folder
width: 4096
# source: …/trainer_0/checkpoints/ae_5000.pt   # a checkpoint, whose config.json is beside it or one folder up
# output_hook: blocks.3.hook_mlp_out     # where a transcoder writes, with its hook at what it reads
""",
    "circuit_tracer": """\
key: llama-3.2-1b/07/transcoder
model: {source: meta-llama/Llama-3.2-1B}
hook: blocks.7.mlp.hook_in               # the set's feature_input_hook in the layer that this dictionary is
kind: circuit_tracer
source: mntss/transcoder-Llama-3.2-1B    # or a folder with config.yaml and layer_7.safetensors
width: 131072
output_hook: blocks.7.hook_mlp_out       # where the layer writes; without it the set's feature_output_hook
# reads: [blocks.7.hook_resid_mid, blocks.8.hook_resid_mid]   # of a cross-layer transcoder, instead of hook; writes: takes some hooks
# k: 128                                 # of a topk set whose config.yaml does not say its k
""",
    "openmoss": """\
key: llama-3.1-8b/15/llama-scope-8x
model: {source: meta-llama/Llama-3.1-8B}
hook: blocks.15.hook_resid_post          # the files' hook_point_in
kind: openmoss
source: /data/Llama3_1-8B-Base-L15R-8x   # a folder with hyperparams.json or config.json, here or owner/repository/folder
width: 32768
# output_hook: blocks.15.hook_mlp_out    # where a transcoder writes; without it the files' hook_point_out
""",
    "qwen_scope": """\
key: qwen3-1.7b/05/qwen-scope-32k
model: {source: Qwen/Qwen3-1.7B-Base}
hook: blocks.5.hook_resid_post           # the layer is the number in the hook
kind: qwen_scope
source: /data/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50   # a folder with layer5.sae.pt, or that file, or owner/repository on the hub
width: 32768
# k: 50                                  # where neither config.json nor the folder's name says it
""",
    "goodfire": """\
key: llama-3.1-8b/19/goodfire
model: {source: meta-llama/Llama-3.1-8B-Instruct}
hook: blocks.19.hook_resid_post
kind: goodfire
source: /data/Llama-3.1-8B-Instruct-SAE-l19.pth   # or owner/repository/file on the hub
width: 65536
""",
    "openai": """\
key: gpt2/08/openai-v5-32k
model: {source: gpt2}
hook: blocks.8.hook_resid_post           # resid_post_mlp; resid_post_attn is hook_resid_mid, resid_delta_mlp is hook_mlp_out
kind: openai
source: /data/resid_post_mlp_v5_32k/autoencoders/8.pt
width: 32768
""",
    "neurons": """\
key: smollm2-135m/09/mlp-neurons
hook: blocks.9.mlp.hook_post             # the input of the down projection
kind: neurons                            # every positive neuron
width: 1536
""",
    "topk_neurons": """\
key: smollm2-135m/09/mlp-neurons-top32
hook: blocks.9.mlp.hook_post
kind: topk_neurons                       # the k largest of a token, where positive
width: 1536
k: 32
""",
    "rotated_topk_neurons": """\
key: smollm2-135m/09/mlp-rotated-top32
hook: blocks.9.mlp.hook_post
kind: rotated_topk_neurons               # the k largest after a random rotation
width: 1536
k: 32
seed: 0
""",
    "random_topk": """\
key: smollm2-135m/09/random-2k
hook: blocks.9.hook_resid_post
kind: random_topk                        # a randomly initialised TopK autoencoder
width: 2048
d_in: 576
k: 32
seed: 0
""",
    "callable": """\
key: smollm2-135m/09/my-probes
hook: blocks.9.hook_resid_post
kind: callable
source: /data/probes.py:encode           # or my_package.probes:encode: Tensor[tokens, d_in] -> Tensor[tokens, width] or Encoded
width: 10
d_in: 576
""",
    "planted": """\
key: smollm2-135m/planted/rules          # the tokenizer of this model cuts the text; no model runs
kind: planted                            # features that are rules over the text, to see whether scorers can be believed
# rules:                                 # leave out for sixteen rules that fire in English text and in program code
#   - name: modals
#     truth: {text: the words will and shall, pattern: '\\b(?:will|shall)\\b'}
#     narrowed: {text: the word will, pattern: '\\bwill\\b'}
#     broadened: {text: auxiliary verbs, pattern: '\\b(?:will|shall|can|may|must|should)\\b'}
stages:
  explanations: [planted_true, planted_narrowed, planted_broadened, planted_false]
""",
}
"""The first lines of a record of each kind."""


def example_record(kind: str) -> str:
    """A record of this kind (one of HEADS), in YAML with comments."""
    head, mark, stages = HEADS[kind].replace("# KINDS", "# " + " | ".join(HEADS)).partition("stages:\n")
    return RECORD.format(head=head, stages=mark + stages or RANGE_STAGES)
