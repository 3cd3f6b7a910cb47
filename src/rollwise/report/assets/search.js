/* The search view: the tree, the steps to go through it, and what there is to know about a step and about a path. */
"use strict";
window.rollwise = window.rollwise || {};
(() => {
  const { COLOURS } = rollwise;
  const MOST_ROWS = 12;
  let made = 0;

  /* An element with attributes and children; text is never read as markup. */
  const h = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value === true) element.setAttribute(key, "");
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };

  /* Pieces of text and of MathML. Only MathML that was cleaned when the page was made is read as markup. */
  const rich = (pieces) => pieces.map(([kind, content]) => {
    if (kind === "text") return document.createTextNode(content);
    const holder = document.createElement("span");
    holder.innerHTML = content;
    return holder.firstElementChild;
  });

  /* A template with the values in the place of their names in braces. */
  const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

  class SearchView {
    /* `search` is the data of a search, `words` the labels; `options.why(node)` fetches a sentence that is not there. */
    constructor(holder, search, words, options = {}) {
      Object.assign(this, { holder, data: search, words, options });
      this.children = search.nodes.key.map(() => []);
      search.nodes.parent.forEach((from, node) => { if (from >= 0) this.children[from].push(node); });
      this.build();
      const last = search.stages.length - 1;
      const [stage, picked] = options.at || [last, this.winner()];
      this.show(Math.min(stage, last), picked);
    }

    winner() {
      const { fate, answer, vote, right } = this.data.nodes;
      const top = this.data.ballots.length ? this.data.ballots[0].answer : null;
      const ended = fate.map((one, node) => node).filter((node) => fate[node] === "finished");
      const rank = (node) => [right[node] ? 1 : 0, answer[node] === top ? 1 : 0, vote[node] ?? 0];
      ended.sort((a, b) => { const [x, y] = [rank(a), rank(b)]; return y[0] - x[0] || y[1] - x[1] || y[2] - x[2]; });
      return ended[0] ?? (this.data.nodes.key.length ? 0 : -1);
    }

    build() {
      const { words, data } = this;
      const named = (label) => (this.options.title ? `${label}: ${this.options.title}` : label); /* landmarks need names of their own */
      this.steps = h("ol", { class: "steps" });
      this.bar = h("nav", { class: "rounds", "aria-label": named(words.steps) },
        h("button", { type: "button", "aria-label": words.back, title: words.back, onclick: () => this.move(-1) }, "‹"),
        this.steps,
        h("button", { type: "button", "aria-label": words.forward, title: words.forward, onclick: () => this.move(1) }, "›"));
      this.treeBox = h("div", { class: "tree", tabindex: 0, role: "region", "aria-label": named(words.tree_label), "aria-describedby": (this.helpId = `help-${++made}`) });
      this.path = h("aside", { class: "path", "aria-live": "polite", "aria-label": named(words.path) });
      this.about = h("div", { class: "about" });
      const asked = `${data.strategy} · ${fill(words.of_budget, { n: data.budget })}`;
      this.holder.replaceChildren(h("div", { class: "search" },
        h("header", { class: "head" }, h("p", { class: "eyebrow" }, asked), h("h1", {}, rich(data.question)), data.digested ? h("p", { class: "note" }, words.only_digests) : null, this.verdict()),
        this.bar,
        h("div", { class: "split" }, h("div", { class: "left" }, this.treeBox, h("p", { class: "help", id: this.helpId }, words.tree_help)), this.path),
        this.about));
      this.buildSteps();
      this.tree = new rollwise.Tree(this.treeBox, data, words, (node) => this.show(this.data.nodes.stage[node], node));
      this.holder.onkeydown = (event) => this.key(event);
    }

    verdict() {
      const { words, data } = this;
      const known = data.nodes.right.some((one) => one !== null);
      const shown = data.ballots.slice(0, 4).map((ballot) =>
        h("li", { class: known && ballot.right ? "right" : "" },
          h("b", {}, rich([["text", ballot.answer]])), ` ${fill(words.of_paths, { n: ballot.paths })}`,
          known ? ` · ${ballot.right ? words.right : words.wrong}` : ""));
      return shown.length ? h("ul", { class: "ballots", "aria-label": words.answers }, shown) : null;
    }

    buildSteps() {
      const most = Math.max(1, ...this.data.stages.map((stage) => stage.effective ?? stage.groups.length));
      this.buttons = this.data.stages.map((stage, at) => {
        const many = stage.effective ?? stage.groups.length;
        const label = fill(this.words.step_label, { step: at + 1, grown: stage.grown, finished: stage.finished, directions: fixed(many, 1) });
        return h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.go(at) },
          h("i", { class: "bar", style: `height:${(2 + 20 * many / most).toFixed(1)}px` }), h("span", {}, `${at + 1}`));
      });
      this.steps.replaceChildren(...this.buttons.map((button) => h("li", {}, button)));
    }

    key(event) {
      const inTree = this.treeBox.contains(event.target);
      if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const moves = { ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1), Home: () => this.go(0), End: () => this.go(this.data.stages.length - 1) };
      const within = { ArrowUp: () => this.beside(-1), ArrowDown: () => this.beside(1) };
      const act = moves[event.key] || (inTree && within[event.key]);
      if (!act) return;
      event.preventDefault();
      act();
    }

    /* One step back or on: to the path this one grew from, or to the one that most rollouts went on with. */
    move(by) {
      const stage = Math.max(0, Math.min(this.data.stages.length - 1, this.stage + by));
      if (stage !== this.stage) this.go(stage);
    }

    go(stage) {
      const { parent, stage: stages, count } = this.data.nodes;
      let node = this.picked;
      while (node >= 0 && stages[node] > stage) node = parent[node];
      while (node >= 0 && stages[node] < stage && this.children[node].length) {
        node = this.children[node].reduce((best, child) => (count[child] > count[best] ? child : best));
      }
      this.show(stage, node);
    }

    beside(by) {
      const column = this.tree.column(this.stage);
      const at = column.indexOf(this.picked);
      this.show(this.stage, column[at < 0 ? 0 : Math.max(0, Math.min(column.length - 1, at + by))]);
    }

    show(stage, picked) {
      const moved = stage !== this.stage;
      this.stage = stage; this.picked = picked;
      this.revealButton(this.buttons[stage]);
      this.tree.show(stage, picked);
      this.buttons.forEach((button, at) => {
        if (at === stage) button.setAttribute("aria-current", "step");
        else button.removeAttribute("aria-current");
      });
      this.tellPath();
      if (moved) this.tellStage();
      if (this.options.onshow) this.options.onshow(stage, picked);
    }

    /* Scroll a step's button into view; it asks for places before anything changes, so that the page is laid out once. */
    revealButton(button) {
      if (!button) return;
      const list = this.steps, left = button.offsetLeft - list.offsetLeft;
      if (left < list.scrollLeft || left + button.offsetWidth > list.scrollLeft + list.clientWidth) list.scrollLeft = left - list.clientWidth / 2;
    }

    chip(node) { return h("i", { class: `chip d${this.tree.colour(node)}`, "aria-hidden": "true" }); }

    tellPath() {
      const { words, data, picked } = this;
      if (picked < 0) { this.path.replaceChildren(h("p", { class: "help" }, words.pick_a_path)); return; }
      const nodes = data.nodes, at = nodes.stage[picked];
      const fate = h("span", { class: `fate ${nodes.fate[picked]}` }, words[`fate_${nodes.fate[picked]}`]);
      const why = h("p", { class: "why" });
      if (nodes.why) why.textContent = nodes.why[picked];
      else if (this.options.why) this.options.why(picked).then((said) => { why.textContent = said; });
      const group = nodes.direction[picked] === null ? null : data.stages[at].groups[nodes.direction[picked]];
      const facts = [
        [words.score, fixed(nodes.score[picked], 3)],
        nodes.chance[picked] === null ? null : [words.chance, `${percent(nodes.chance[picked])} (κ ${nodes.worth[picked] === null ? "–" : nodes.worth[picked].toPrecision(2)})`],
        group === null ? null : [words.direction, h("span", {}, this.chip(picked), group.words)],
        nodes.uniqueness[picked] === null ? null : [words.uniqueness, fixed(nodes.uniqueness[picked], 3)],
        nodes.share[picked] === null ? null : [words.share, percent(nodes.share[picked])],
        group === null ? null : [words.rollouts, `${nodes.count[picked]}`],
        nodes.answer[picked] === null ? null : [words.answer, h("span", {}, nodes.answer[picked], nodes.right[picked] === null ? "" : ` (${nodes.right[picked] ? words.right : words.wrong})`)],
        nodes.vote[picked] === null ? null : [words.vote, fixed(nodes.vote[picked], 3)],
      ].filter((fact) => fact !== null);
      const line = [];
      for (let node = picked; node >= 0; node = nodes.parent[node]) line.unshift(node);
      const steps = line.filter((node) => nodes.fate[node] !== "failed").map((node) =>
        h("li", { class: `d${this.tree.colour(node)}` }, h("div", { class: "text" }, rich(data.texts[nodes.text[node]])),
          nodes.wrote[node] < 0 ? "" : h("small", { class: "wrote" }, `${words.wrote} `, rich(data.texts[nodes.wrote[node]])),
          h("small", {}, `${words.score} ${fixed(nodes.score[node], 3)}`)));
      this.path.replaceChildren(
        h("h2", {}, `${words.path} ${nodes.key[picked]} `, fate), why,
        h("dl", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
        h("ol", { class: "told" }, steps));
    }

    tellStage() {
      const { words, data, stage } = this;
      const now = data.stages[stage];
      const stopped = now && now.stopped ? h("p", { class: "help" }, fill(words.stopped_here, { reason: now.stopped })) : "";
      if (!now || !now.groups.length) { this.about.replaceChildren(stopped, this.votes()); return; }
      this.members = new Map();
      data.nodes.stage.forEach((at, node) => {
        if (at === stage && data.nodes.place[node] !== null) this.members.set(data.nodes.place[node], node);
      });
      this.about.replaceChildren(stopped, this.directions(now), this.matrix(now), this.list(now));
    }

    votes() {
      const { words, data } = this;
      if (data.digested) return h("p", { class: "help" }, words.only_digests);
      if (!data.ballots.length) return h("p", { class: "help" }, words.no_answers);
      return h("section", { class: "panel" }, h("h2", {}, words.answers),
        this.table([words.answer, words.paths_head, words.weight], data.ballots.map((ballot) => [ballot.answer, ballot.paths, fixed(ballot.weight, 3)])));
    }

    table(heads, rows) {
      const cell = (value, at) => h(at ? "td" : "th", { scope: at ? null : "row" }, typeof value === "number" ? `${value}` : value);
      return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": this.options.title ? `${heads[0]}: ${this.options.title}` : `${heads[0]}` },
        h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
          h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))));
    }

    directions(now) {
      const { words, data } = this;
      const label = (place) => data.nodes.direction[this.members.get(place)];
      const names = Object.keys(now.others);
      const sums = names.map((name) => {
        const sum = new Array(now.groups.length).fill(0);
        now.others[name].forEach((count, place) => { if (label(place) !== undefined) sum[label(place)] += count; });
        return sum;
      });
      const most = Math.max(1, ...now.groups.map((group) => group.count), ...sums.flat());
      const bar = (count, own) => h("span", { class: `count${own ? " own" : ""}`, style: `--part:${(100 * count / most).toFixed(1)}%` }, `${count}`);
      const shown = now.groups.map((group, at) => ({ group, at })).sort((a, b) => b.group.count - a.group.count || b.group.share - a.group.share);
      const rows = shown.map(({ group, at }) => {
        const best = [...this.members.values()].filter((node) => data.nodes.direction[node] === group.label).sort((a, b) => data.nodes.count[b] - data.nodes.count[a] || data.nodes.score[b] - data.nodes.score[a])[0];
        const name = h("button", { type: "button", class: "direction", onclick: () => this.show(this.stage, best) }, this.chip(best), group.words || "…");
        return [name, bar(group.count, true), group.paths, fixed(group.score, 3), fixed(group.uniqueness, 2), percent(group.share), ...sums.map((sum) => bar(sum[at], false))];
      });
      const heads = [data.byStrategy ? words.direction : words.step_text, data.strategy, words.paths_head, words.mean_score, words.uniqueness_sum, words.share, ...names];
      const summary = now.effective === null ? words.no_directions : fill(words.effective, { n: fixed(now.effective, 1) });
      const section = h("section", { class: "panel" }, h("h2", {}, fill(words.to_hand_out, { step: this.stage + 1, n: now.width })),
        h("p", { class: "help" }, `${summary}${words.gap}${words.beside}`), this.table(heads, rows));
      const rest = [...section.querySelectorAll("tbody tr")].slice(MOST_ROWS);
      if (rest.length > 1) {
        rest.forEach((row) => { row.hidden = true; });
        section.append(h("button", { type: "button", class: "more", onclick: (event) => { rest.forEach((row) => { row.hidden = false; }); event.target.remove(); } }, `${words.show_all} (${rows.length})`));
      }
      return section;
    }

    matrix(now) {
      const { words, data } = this;
      const size = now.order.length;
      const canvas = h("canvas", { width: size, height: size, role: "img", style: `width:${size * Math.max(1, Math.min(8, Math.floor(320 / size)))}px`, "aria-label": `${words.similarity} (${fill(words.of_paths, { n: size })})` });
      const bytes = now.similarity ? Uint8Array.from(atob(now.similarity), (letter) => letter.charCodeAt(0)) : null;
      const labels = now.order.map((_, place) => data.nodes.direction[this.members.get(place)]);
      const low = bytes ? bytes.reduce((least, one) => Math.min(least, one), 254) : 0;
      const context = canvas.getContext("2d"), image = context.createImageData(size, size);
      const ramp = parseInt(getComputedStyle(this.holder).getPropertyValue("--ramp").trim().slice(1), 16);
      const shades = Uint8Array.from({ length: 256 }, (_, byte) => 8 + 247 * (Math.max(0, byte - low) / (255 - low)) ** 2);
      const pixels = image.data;
      let pixel = 0;
      for (const a of now.order) {
        for (const b of now.order) {
          pixels[pixel++] = ramp >> 16;
          pixels[pixel++] = (ramp >> 8) & 255;
          pixels[pixel++] = ramp & 255;
          pixels[pixel++] = shades[bytes ? bytes[a * size + b] : labels[a] === labels[b] ? 255 : 0];
        }
      }
      context.putImageData(image, 0, 0);
      return h("section", { class: "panel" }, h("h2", {}, words.similarity), canvas, h("p", { class: "help" }, bytes ? words.similarity_help : words.same_help));
    }

    list(now) {
      const { words, data } = this;
      const nodes = [...this.members.values()].sort((a, b) => data.nodes.count[b] - data.nodes.count[a] || data.nodes.score[b] - data.nodes.score[a]);
      const holder = h("details", { class: "panel" }, h("summary", {}, `${words.all_paths} (${nodes.length})`));
      holder.addEventListener("toggle", () => {
        if (!holder.open || holder.childElementCount > 1) return;
        holder.append(this.table([words.path, words.direction, words.score, words.rollouts], nodes.map((node) => [
          h("button", { type: "button", class: "direction", onclick: () => this.show(this.stage, node) }, data.nodes.key[node]),
          h("span", {}, this.chip(node), now.groups[data.nodes.direction[node]].words), fixed(data.nodes.score[node], 3), data.nodes.count[node]])));
      });
      return holder;
    }
  }

  rollwise.open = () => {
    const { words, search } = JSON.parse(document.getElementById("rollwise-data").textContent);
    const holder = document.getElementById("rollwise");
    const main = holder.appendChild(h("main", {}));
    rollwise.view = new SearchView(main, search, words, {});
    document.addEventListener("keydown", (event) => { if (event.target === document.body) rollwise.view.key(event); });
  };
  Object.assign(rollwise, { SearchView, h, rich, fill, fixed, percent, COLOURS });
})();
