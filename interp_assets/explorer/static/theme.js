// Runs before the page is drawn: the reader's own choice of light or dark.
"use strict";
try {
  const chosen = localStorage.getItem("interp-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (_) { /* storage is switched off: the system's choice holds */ }
