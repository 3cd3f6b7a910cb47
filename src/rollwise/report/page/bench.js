"use strict";
const tip = document.getElementById("tip");

function showTip(point, x, y) {
  tip.textContent = point.getAttribute("aria-label");
  tip.hidden = false;
  tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 4)) + "px";
}

for (const point of document.querySelectorAll(".point")) {
  const title = point.querySelector("title");
  if (title) title.remove(); // the tip says the same, and sooner
  point.addEventListener("pointermove", (event) => showTip(point, event.clientX, event.clientY));
  point.addEventListener("pointerleave", () => { tip.hidden = true; });
  point.addEventListener("blur", () => { tip.hidden = true; });
  point.addEventListener("focus", () => {
    const box = point.lastElementChild.getBoundingClientRect();
    showTip(point, box.right, box.bottom);
  });
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

for (const button of document.querySelectorAll(".curve-switch")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    for (const curve of button.closest("figure").querySelectorAll(".curve")) {
      if (curve.dataset.curve === button.dataset.curve) curve.style.display = shown ? "" : "none";
    }
  });
}

function compare(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const numbers = [Number(one), Number(other)];
  return numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1];
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const place = [...head.parentNode.children].indexOf(head);
    const way = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const each of head.parentNode.children) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    const body = head.closest("table").tBodies[0];
    const key = (row) => row.cells[place].dataset.sort;
    const rows = [...body.rows].sort((one, other) => {
      if (key(one) === "" || key(other) === "") return compare(key(one), key(other)); // unknown values stay last
      return (way === "ascending" ? 1 : -1) * compare(key(one), key(other));
    });
    body.append(...rows);
  });
}

for (const input of document.querySelectorAll(".row-filter")) {
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of input.closest("section").querySelectorAll("tbody tr")) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}

for (const form of document.querySelectorAll(".chooser")) {
  const section = form.closest("section");
  const rows = [...section.querySelectorAll("tbody tr")];
  const update = () => {
    const chosen = Object.fromEntries(new FormData(form));
    for (const cell of section.querySelectorAll("[data-n]")) cell.hidden = cell.dataset.n !== chosen.budget;
    const counts = { wins: 0, losses: 0, ties: 0, shown: 0 };
    for (const row of rows) {
      const cells = [...row.cells].filter((cell) => cell.dataset.n === chosen.budget && cell.dataset.v !== "");
      const share = (place) => cells.filter((cell) => cell.dataset.s === place).map((cell) => Number(cell.dataset.v))[0];
      const one = share(chosen.one), other = share(chosen.other);
      const kind = one === undefined || other === undefined ? "" : one > other ? "wins" : one < other ? "losses" : "ties";
      if (kind) counts[kind] += 1;
      const fits = {
        all: true, wins: kind === "wins", losses: kind === "losses", differ: kind === "wins" || kind === "losses",
        none: cells.every((cell) => Number(cell.dataset.v) === 0),
      }[chosen.show];
      row.hidden = !fits || !row.cells[0].textContent.toLowerCase().includes(chosen.text.toLowerCase());
      counts.shown += row.hidden ? 0 : 1;
    }
    const names = [form.elements.one, form.elements.other].map((select) => select.selectedOptions[0].textContent);
    form.querySelector("output").textContent =
      `${names[0]} wins ${counts.wins}, ${names[1]} wins ${counts.losses}, ties ${counts.ties}; ${counts.shown} shown`;
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}

for (const link of document.querySelectorAll("a.match")) {
  link.addEventListener("click", () => {
    const form = document.querySelector(`${link.hash} .chooser`);
    const select = (name, text) => {
      const list = form.elements[name];
      list.selectedIndex = [...list.options].findIndex((option) => option.textContent === text);
    };
    select("budget", link.dataset.budget);
    select("one", link.dataset.one);
    select("other", link.dataset.other);
    form.elements.show.value = "differ";
    form.dispatchEvent(new Event("input"));
  });
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target === null) return;
  if (target.matches("details.search")) target.open = true;
  const details = target.matches("tr") ? target.querySelector("details") : null;
  if (details) { target.hidden = false; details.open = true; }
  target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
