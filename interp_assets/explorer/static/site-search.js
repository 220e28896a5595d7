// Search in a static copy: explanations that hold all words of the query, the rarest words first. Texts are written as text alone.
"use strict";
(() => {
  const SHOWN = 60;
  const words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const all = Object.entries(window.INTERP_FEATURES || {}).flatMap(([key, rows]) => rows.map(([feature, said]) => ({ key, feature, said, words: words(said) })));
  const field = document.querySelector("[data-site-query]");
  const list = document.querySelector("[data-site-hits]");
  const counted = document.querySelector("[data-site-count]");
  const element = (name, text, className) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const found = (query) => {
    const asked = words(query);
    if (!asked.length) return [];
    const last = asked.length - 1;
    const holds = (row, place) => row.words.some((word) => (place === last ? word.startsWith(asked[place]) : word === asked[place]));
    const weights = asked.map((_, place) => Math.log1p(all.length / Math.max(1, all.filter((row) => holds(row, place)).length)));
    const exact = (row) => (row.words.includes(asked[last]) ? 1 : 0.6) * weights[last];
    return all.filter((row) => asked.every((_, place) => holds(row, place))).sort((a, b) => exact(b) - exact(a));
  };
  const show = (query) => {
    const hits = found(query);
    counted.textContent = query ? `${hits.length.toLocaleString("en")} features` : `${all.length.toLocaleString("en")} explained features in this copy`;
    list.replaceChildren(...hits.slice(0, SHOWN).map((hit) => {
      const row = document.createElement("li");
      const link = element("a", String(hit.feature), "number");
      link.href = `d/${hit.key.split("/").map(encodeURIComponent).join("/")}/${hit.feature}.html`;
      const said = document.createElement("div");
      said.append(element("p", hit.said, "said"), element("p", hit.key, "sub"));
      row.append(link, said);
      return row;
    }));
  };
  field.value = new URLSearchParams(location.search).get("q") || "";
  field.addEventListener("input", () => show(field.value));
  show(field.value);
})();
