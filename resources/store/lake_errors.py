"""What goes wrong in the lake."""


class LakeError(RuntimeError):
    """The store has another version, a required partition is missing, or there is no room for a partition."""


class CorruptPartition(LakeError):
    """A partition whose file was changed or damaged after it was written. Its manifest has been withdrawn, so that it counts as missing."""


class ReplacedMeanwhile(LakeError):
    """A partition that another run has replaced while it was read."""
