// The console's one script: keys, hold-to-reveal, the palette, and focus that survives a swap.
// Nothing here is needed to decide a case; every key presses a button that is on the page.
"use strict";

const typing = (target) =>
  target.closest?.("textarea, select, [contenteditable]") ||
  (target.matches?.("input") && !["radio", "checkbox", "button", "submit"].includes(target.type));

// ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────

let prefix = "";
let prefixTimer = 0;

function clearPrefix() {
  prefix = "";
  clearTimeout(prefixTimer);
}

function visible(element) {
  return element.checkVisibility({ visibilityProperty: true }) && !element.closest("dialog:not([open])");
}

function byKey(combination) {
  const found = [...document.querySelectorAll("[data-key]")].filter((one) => one.dataset.key === combination && !one.disabled && !one.closest("fieldset:disabled"));
  return found.find(visible) || found.find((one) => one.closest("details.menu"));
}

function press(element) {
  if (element.dataset.dialog) {
    openDialog(element.dataset.dialog);
  } else if (element.matches("textarea, input:not([type=radio], [type=checkbox])")) {
    element.focus();
    element.select?.();
  } else if (element.matches("input")) {
    element.focus();
    element.click();
  } else {
    element.click();
    if (element.matches("summary")) element.parentElement.querySelector("select, input, textarea")?.focus();
  }
}

function stops() {
  return [...document.querySelectorAll("main [data-stop]")].filter(visible);
}

function step(by) {
  const all = stops();
  if (!all.length) return;
  const here = all.findIndex((one) => one === document.activeElement || one.contains(document.activeElement));
  const next = all[Math.min(all.length - 1, Math.max(0, here < 0 ? (by > 0 ? 0 : all.length - 1) : here + by))];
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function openDialog(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return;
  letGo();
  dialog.showModal();
  if (id === "palette") dialog.querySelector("input").select();
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openDialog("palette");
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    clearPrefix();
    if (typing(event.target)) event.target.blur();
    document.querySelectorAll("details.menu[open]").forEach((menu) => menu.removeAttribute("open"));
    return;
  }
  if (typing(event.target)) return;
  if (document.querySelector("dialog[open]")) {
    if (event.target.closest?.(".found, #palette") && ["ArrowDown", "ArrowUp"].includes(event.key)) walkFound(event);
    return;
  }
  if (event.key === "r" && !prefix) {
    const veil = veilAtHand();
    if (veil) {
      event.preventDefault();
      if (!event.repeat) hold(veil);
    }
    return;
  }
  if (event.repeat && !["j", "k"].includes(event.key)) return;
  if (!prefix && (event.key === "j" || event.key === "k")) {
    event.preventDefault();
    step(event.key === "j" ? 1 : -1);
    return;
  }
  if (!prefix && event.key === "t") {
    document.documentElement.classList.toggle("exact");
    return;
  }
  if (!prefix && (event.key === "g" || event.key === "a")) {
    prefix = event.key;
    prefixTimer = setTimeout(clearPrefix, 2000);
    return;
  }
  const combination = prefix ? `${prefix} ${event.key}` : event.key;
  clearPrefix();
  const found = byKey(combination);
  if (found) {
    event.preventDefault();
    press(found);
  }
});

// ── Hold to reveal ───────────────────────────────────────────────────────────────────────────────────────────────

let held = null;
let since = 0;

function veilAtHand() {
  const focused = document.activeElement?.closest?.(".veil");
  if (focused) return focused;
  const all = [...document.querySelectorAll(".veil")];
  return all.find((veil) => veil.getBoundingClientRect().bottom > 60 && veil.getBoundingClientRect().top < innerHeight) || null;
}

function hold(veil) {
  if (held === veil) return;
  letGo();
  let clear = veil.querySelector("img.clear");
  if (!clear) {
    clear = document.createElement("img");
    clear.className = "clear";
    clear.alt = "";
    clear.draggable = false;
    clear.src = veil.dataset.clear;
    veil.append(clear);
  }
  held = veil;
  since = performance.now();
  veil.classList.add("held");
}

function letGo() {
  if (!held) return;
  const veil = held;
  held = null;
  veil.classList.remove("held");
  const seconds = (performance.now() - since) / 1000;
  const body = new URLSearchParams({ seconds: seconds.toFixed(2) });
  const headers = JSON.parse(document.body.getAttribute("hx-headers") || "{}");
  fetch(veil.dataset.count, { method: "POST", body, headers, keepalive: true }).catch(() => {});
}

document.addEventListener("pointerdown", (event) => {
  const veil = event.button === 0 && event.target.closest?.(".veil");
  if (veil) {
    hold(veil);
    veil.focus({ preventScroll: true });
  }
});
for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, letGo);
document.addEventListener("pointerout", (event) => {
  if (held && event.target.closest?.(".veil") === held && !held.contains(event.relatedTarget)) letGo();
});
document.addEventListener("keyup", (event) => {
  if (["r", "R", " ", "Enter"].includes(event.key)) letGo();
});
document.addEventListener("keydown", (event) => {
  const veil = event.target.closest?.(".veil");
  if (veil && (event.key === " " || event.key === "Enter")) {
    event.preventDefault();
    if (!event.repeat) hold(veil);
  }
});
document.addEventListener("contextmenu", (event) => {
  if (event.target.closest?.(".veil")) event.preventDefault();
});
document.addEventListener("dragstart", (event) => {
  if (event.target.closest?.(".veil")) event.preventDefault();
});
addEventListener("blur", letGo);
addEventListener("pagehide", letGo);
document.addEventListener("visibilitychange", letGo);
document.addEventListener("focusout", (event) => {
  if (held && event.target === held) letGo();
});

// ── The decision form ────────────────────────────────────────────────────────────────────────────────────────────

function settleForm() {
  const form = document.querySelector("[data-deciding]");
  if (!form) return;
  const none = form.querySelector("[name=outcome][value=no_violation]").checked;
  form.querySelector("[data-acts]").disabled = none;
  const verbs = new Set([...form.querySelectorAll("[name=ask]:checked")].map((one) => one.dataset.verb));
  for (const field of form.querySelectorAll("[data-for]")) {
    field.hidden = none || !field.dataset.for.split(" ").some((verb) => verbs.has(verb));
  }
}
document.addEventListener("change", settleForm);
document.addEventListener("DOMContentLoaded", settleForm);
addEventListener("pageshow", settleForm);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  if (form.method === "post") {
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 3000);
  }
});
// ── A search that runs can be stopped ────────────────────────────────────────────────────────────────────────────

function searching(asked) {
  const banner = document.getElementById("searching");
  if (!banner) return;
  banner.elements.asked.value = asked;
  banner.hidden = false;
  banner.scrollIntoView({ block: "nearest" });
}
document.addEventListener("submit", (event) => {
  if (event.target.matches("form.asking")) searching(new URLSearchParams(new FormData(event.target)).toString());
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("main a[href]");
  const leads = link && link.pathname === location.pathname && link.search.length > 1 && !link.hash;
  if (leads && !event.ctrlKey && !event.metaKey && !event.shiftKey) searching(link.search);
});
addEventListener("pagehide", () => document.getElementById("searching")?.setAttribute("hidden", ""));

// ── The palette ──────────────────────────────────────────────────────────────────────────────────────────────────

function walkFound(event) {
  const links = [...document.querySelectorAll("#palette-found a")];
  if (!links.length) return;
  event.preventDefault();
  const here = links.indexOf(document.activeElement);
  const next = here + (event.key === "ArrowDown" ? 1 : -1);
  (next < 0 ? document.getElementById("palette-q") : links[Math.min(next, links.length - 1)]).focus();
}
document.getElementById("palette-q")?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") walkFound(event);
  if (event.key === "Enter") {
    const first = document.querySelector("#palette-found a");
    if (first) {
      event.preventDefault();
      first.click();
    }
  }
  if (event.key === "Escape") document.getElementById("palette").close();
});
document.addEventListener("click", (event) => {
  const opener = event.target.closest?.("[data-dialog]");
  if (opener && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    openDialog(opener.dataset.dialog);
  }
  if (!event.target.closest?.("details.menu")) document.querySelectorAll("details.menu[open]").forEach((menu) => menu.removeAttribute("open"));
  if (event.target.matches?.("dialog")) event.target.close();
});

// ── The editor: from a mistake to its place ─────────────────────────────────────────────────────────────────────

document.addEventListener("click", (event) => {
  const goto = event.target.closest?.("[data-goto]");
  const code = goto && document.querySelector("[data-code]");
  if (!code) return;
  const [line, column, width] = goto.dataset.goto.split(":").map(Number);
  const lines = code.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  code.focus();
  code.setSelectionRange(start + column - 1, start + (width ? column - 1 + width : (lines[line - 1] || "").length));
  code.scrollTop = Math.max(0, (line - 6) * parseFloat(getComputedStyle(code).lineHeight));
});

// A new line begins where the one before began, as every editor has it; a line that opens a block, one step further in.
document.addEventListener("keydown", (event) => {
  const code = event.target;
  if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || !code.matches?.("[data-code]")) return;
  const line = code.value.slice(0, code.selectionStart).split("\n").pop();
  const indent = line.match(/^ */)[0] + (/:\s*[|>]?-?\s*$/.test(line) ? "  " : "") + (/^ *- /.test(line) ? "  " : "");
  if (indent && document.execCommand("insertText", false, "\n" + indent)) event.preventDefault();  // Undo still works.
});

// ── Focus is never lost after a swap ─────────────────────────────────────────────────────────────────────────────

let before = -1;
document.addEventListener("htmx:beforeSwap", (event) => {
  const inside = event.detail.target.contains(document.activeElement);
  before = inside ? stops().findIndex((one) => one === document.activeElement) : -1;
});
document.addEventListener("htmx:afterSettle", () => {
  if (before < 0) return;
  if (document.activeElement === document.body || !document.activeElement) {
    const all = stops();
    (all[Math.min(before, all.length - 1)] || document.getElementById("main"))?.focus({ preventScroll: true });
  }
  before = -1;
});

// A long text opens at its first mark.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".words")) {
    const mark = box.querySelector("mark");
    if (mark && box.scrollHeight > box.clientHeight) box.scrollTop = mark.offsetTop - box.clientHeight / 2;
  }
});
