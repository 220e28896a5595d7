// What a keyboard and a pointer need. Every page works without it. Values of the page are read from attributes, and written as text alone.
"use strict";

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Light and dark.
const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
const toggleTheme = () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("interp-theme", next); } catch (_) { /* not kept */ }
};
for (const button of all("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", toggleTheme);
}

// The list of keys.
const help = one("[data-help]");
for (const button of all("[data-help-open]")) {
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
}

// Rows that j and k walk through.
let chosenRow = -1;
const rows = all("[data-row]");
const chooseRow = (step) => {
  if (!rows.length) return false;
  if (chosenRow >= 0) rows[chosenRow].classList.remove("chosen");
  chosenRow = Math.max(0, Math.min(rows.length - 1, chosenRow + step));
  rows[chosenRow].classList.add("chosen");
  rows[chosenRow].scrollIntoView({ block: "nearest" });
  return true;
};

// Rating: a digit rates the first window that has no rating yet, or the one whose choice has the focus.
const rating = one("form[data-rating]");
const shownAt = performance.now();
const boxes = rating ? all("fieldset", rating) : [];
const currentBox = () => boxes.find((box) => box.contains(document.activeElement) && box.matches(":focus-within")) || boxes.find((box) => !one("input:checked", box));
const markCurrent = () => boxes.forEach((box) => box.closest(".rated").classList.toggle("current", box === currentBox()));
const rateByKey = (digit) => {
  const box = currentBox() || boxes[boxes.length - 1];
  const choice = box && one(`input[value="${digit}"]`, box);
  if (!choice) return false;
  choice.checked = true;
  const next = boxes[boxes.indexOf(box) + 1];
  (document.activeElement || document.body).blur();
  markCurrent();
  if (next) next.closest(".rated").scrollIntoView({ block: "nearest" });
  return true;
};
if (rating) {
  markCurrent();
  rating.addEventListener("change", markCurrent);
  rating.addEventListener("submit", () => { rating.elements.seconds.value = ((performance.now() - shownAt) / 1000).toFixed(1); });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (rating && /^[1-9]$/.test(event.key) && rateByKey(event.key)) { event.preventDefault(); return; }
  if (rating && event.key === "Enter" && !event.target.closest("a, button")) { event.preventDefault(); rating.requestSubmit(); return; }
  const typing = event.target.closest("input:not([type=radio]), textarea, select, [contenteditable]");
  if (typing) {
    if (event.key === "Escape") typing.blur();
    return;
  }
  if (one("dialog[open]")) return;
  if (event.key === "?") { help.showModal(); event.preventDefault(); return; }
  if (event.key === "t") { toggleTheme(); return; }
  if (event.key === "u") {
    const up = one("[data-up]") || one(".mark");
    if (up) location.assign(up.href);
    return;
  }
  const named = all("[data-key]").find((element) => element.dataset.key === event.key);
  if (named) {
    event.preventDefault();
    if (named.matches("input")) { named.focus(); named.select(); } else named.click();
    return;
  }
  if (event.key === "j" || event.key === "k") { chooseRow(event.key === "j" ? 1 : -1); return; }
  if (event.key === "Enter" && chosenRow >= 0) {
    const link = one("a[href]", rows[chosenRow]);
    if (link) location.assign(link.href);
  }
});

// The number behind a shade, beside the pointer.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "tooltip");
tip.hidden = true;
document.body.append(tip);
const showTip = (token) => {
  tip.textContent = token.dataset.v;
  tip.hidden = false;
  const place = token.getBoundingClientRect();
  const left = Math.min(innerWidth - tip.offsetWidth - 4, Math.max(4, place.left + place.width / 2 - tip.offsetWidth / 2));
  tip.style.setProperty("left", `${left + scrollX}px`);
  tip.style.setProperty("top", `${place.top + scrollY - tip.offsetHeight - 4}px`);
};
document.addEventListener("pointerover", (event) => {
  const token = event.target.closest?.(".t[data-v]");
  if (token) showTip(token); else tip.hidden = true;
});

// Parts of a page that need a model: they are fetched when they are asked for, and asked for again while the model is being loaded.
const fetchPart = async (place, address, wanted = () => true) => {
  place.textContent = "…";
  for (let tries = 0; tries < 240 && wanted(); tries += 1) {
    const answer = await fetch(address);
    const text = await answer.text();
    const part = one("[data-part]", new DOMParser().parseFromString(text, "text/html"));
    if (answer.ok && part) { place.replaceChildren(...document.importNode(part, true).childNodes); return; }
    const said = one("main p", new DOMParser().parseFromString(text, "text/html"));
    place.textContent = said ? said.textContent : "This cannot be shown.";
    if (answer.status !== 503) return;
    await new Promise((resume) => setTimeout(resume, 1500));
  }
};
for (const place of all("[data-fragment]")) {
  const link = one("a", place);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    fetchPart(place, link.href).catch(() => { place.textContent = "The explorer does not answer."; });
  });
}

// A feature on the reader's own text. The text stays for the next feature, and is run there at once.
for (const slide of all('.slide input[type="range"]')) {
  const said = one("output", slide.closest("label"));
  slide.addEventListener("input", () => { said.textContent = slide.value.replace("-", "−"); });
}
const trying = one("form[data-try]");
if (trying) {
  const keep = (name, value) => { try { sessionStorage.setItem(name, value); } catch (_) { /* not kept */ } };
  const kept = (name) => { try { return sessionStorage.getItem(name) || ""; } catch (_) { return ""; } };
  const latest = {};
  const run = (kind) => {
    const text = trying.elements.text.value;
    if (!text.trim()) return;
    const address = new URL(kind === "steer" ? one("[formaction]", trying).formAction : trying.action);
    address.searchParams.set("text", text);
    if (kind === "steer") address.searchParams.set("by", trying.elements.by.value);
    const place = document.createElement("div");
    one(`[data-tried="${kind}"]`).replaceChildren(place);
    latest[kind] = place;
    fetchPart(place, address, () => latest[kind] === place).catch(() => { place.textContent = "The explorer does not answer."; });
  };
  trying.addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = event.submitter && event.submitter.hasAttribute("formaction") ? "steer" : "try";
    keep("interp-text", trying.elements.text.value);
    run(kind);
  });
  trying.elements.by.addEventListener("change", () => { if (latest.steer) run("steer"); });
  trying.elements.text.value = kept("interp-text");
  run("try");
}

// An address that names a place within closed details opens them.
const openTarget = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { for (let box = target; box; box = box.parentElement) if (box.matches("details")) box.open = true; target.scrollIntoView({ block: "center" }); }
};
addEventListener("hashchange", openTarget);
openTarget();

// A search is sent by Enter; Shift and Enter begin a new line.
for (const area of all("textarea[data-submits]")) {
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); area.form.requestSubmit(); }
  });
}
