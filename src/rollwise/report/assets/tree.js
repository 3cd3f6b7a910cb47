/* The tree of paths as SVG: a column for each step, a block for each direction, a line for each path. */
"use strict";
window.rollwise = window.rollwise || {};
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = 8; /* directions with a colour of their own; the rest are grey */
  const TOP = 30, BOTTOM = 12, LEFT = 16, RIGHT = 38;

  const shape = (name, attributes, parent) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };

  /* The nodes of each stage by block: its directions, then what finished, was lost or was left. */
  const blocksOf = (data) => {
    const { stage, direction, fate } = data.nodes;
    const blocks = data.stages.map(() => new Map());
    stage.forEach((at, node) => {
      const name = direction[node] === null ? fate[node] : direction[node];
      if (!blocks[at].has(name)) blocks[at].set(name, []);
      blocks[at].get(name).push(node);
    });
    return blocks;
  };

  /* A colour for each direction: that of the direction most of its paths come from, if no larger one has it already. */
  const coloursOf = (data, blocks) => {
    const { parent, direction, stage } = data.nodes;
    const colours = [];
    blocks.forEach((found, at) => {
      const taken = new Set(), chosen = new Map();
      [...data.stages[at].groups].sort((a, b) => b.count - a.count).forEach((group) => {
        const votes = new Map();
        for (const node of found.get(group.label) || []) {
          const from = parent[node];
          const colour = from < 0 || direction[from] === null ? undefined : colours[stage[from]].get(direction[from]);
          if (colour !== undefined && colour < COLOURS) votes.set(colour, (votes.get(colour) || 0) + 1);
        }
        const inherited = [...votes].sort((a, b) => b[1] - a[1]).map(([colour]) => colour);
        const free = [...Array(COLOURS).keys()].filter((colour) => !taken.has(colour));
        const colour = inherited.find((one) => !taken.has(one)) ?? free[0] ?? COLOURS;
        taken.add(colour);
        chosen.set(group.label, colour);
      });
      colours.push(chosen);
    });
    return colours;
  };

  /* Where everything lies: x of each stage, y of each node, and the blocks in their order. */
  const layOut = (data, blocks, width) => {
    const { parent } = data.nodes;
    const y = new Float64Array(parent.length);
    const sizes = blocks.map((found) => [...found.values()].reduce((sum, nodes) => sum + nodes.length, 0));
    const most = Math.max(1, ...sizes);
    const row = Math.max(4.5, Math.min(15, 470 / most));
    const gapOf = (found) => Math.min(7, 150 / Math.max(1, found.size));
    const heights = blocks.map((found, at) => sizes[at] * row + Math.max(0, found.size - 1) * gapOf(found));
    const height = Math.max(180, ...heights);
    const mean = (nodes) =>
      nodes.reduce((sum, node) => sum + (parent[node] < 0 ? 0 : y[parent[node]]), 0) / nodes.length;
    const placed = blocks.map((found, at) => {
      const last = (name) => (typeof name === "number" ? 0 : 1);
      const ordered = [...found].sort(([one, a], [other, b]) => last(one) - last(other) || mean(a) - mean(b));
      let top = TOP + (height - heights[at]) / 2;
      return ordered.map(([name, nodes]) => {
        nodes.sort((a, b) => (parent[a] < 0 || parent[b] < 0 ? a - b : y[parent[a]] - y[parent[b]] || a - b));
        nodes.forEach((node, place) => { y[node] = top + (place + 0.5) * row; });
        const block = { name, nodes, top, bottom: top + nodes.length * row };
        top = block.bottom + gapOf(found);
        return block;
      });
    });
    const room = Math.max(0, width - LEFT - RIGHT);
    const step = Math.max(34, Math.min(230, room / Math.max(1, blocks.length - 1)));
    const x = blocks.map((_, at) => LEFT + at * step);
    return { x, y, row, step, placed, width: Math.max(110, LEFT + RIGHT + step * Math.max(0, blocks.length - 1)), height: height + TOP + BOTTOM };
  };

  const thickness = (count, row) => (count ? Math.min(row * 1.4, 0.9 + 1.15 * Math.sqrt(count)) : 0.9);
  const radius = (count, row) => Math.min(row * 0.95, 1.6 + 0.95 * Math.sqrt(count));

  /* Lines and dots that look the same share one SVG path, so 10,000 nodes stay fast. */
  class Bundles {
    constructor(parent) { this.parent = parent; this.parts = new Map(); }
    add(key, path) {
      if (!this.parts.has(key)) this.parts.set(key, []);
      this.parts.get(key).push(path);
    }
    draw(attributesOf) {
      for (const [key, paths] of this.parts) shape("path", { ...attributesOf(key), d: paths.join("") }, this.parent);
    }
  }

  const box = (name, ...children) => {
    const element = document.createElement("div");
    element.className = name;
    element.append(...children);
    return element;
  };

  const MARKS = {
    dot: (x, y, r) => `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
    diamond: (x, y, r) => `M${x},${y - r}L${x + r},${y}L${x},${y + r}L${x - r},${y}Z`,
    square: (x, y, r) => `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
    cross: (x, y, r) => `M${x - r},${y - r}L${x + r},${y + r}M${x + r},${y - r}L${x - r},${y + r}`,
  };
  const line = (x0, y0, x1, y1) => {
    const middle = (x0 + x1) / 2;
    const place = (value) => value.toFixed(1);
    return `M${place(x0)},${place(y0)}C${place(middle)},${place(y0)} ${place(middle)},${place(y1)} ${place(x1)},${place(y1)}`;
  };

  class Tree {
    /* `data` is a search; `onPick(node)` hears of a click. */
    constructor(holder, data, words, onPick) {
      this.holder = holder; this.data = data; this.words = words; this.onPick = onPick;
      this.blocks = blocksOf(data);
      this.colours = coloursOf(data, this.blocks);
      this.draw();
      new ResizeObserver(() => { if (Math.abs(holder.clientWidth - this.drawn) > 8) this.draw(); }).observe(holder);
    }

    colour(node) {
      const { direction, stage, parent } = this.data.nodes;
      for (let at = node; at >= 0; at = parent[at]) {
        if (direction[at] !== null) return this.colours[stage[at]].get(direction[at]) ?? COLOURS;
      }
      return COLOURS;
    }

    /* Lines, dots and names lie on sheets of their own. The sheets of lines and dots are painted once: a step back only
       clips them, so it paints nothing anew, however many paths there are. */
    draw() {
      this.drawn = this.holder.clientWidth;
      this.place = layOut(this.data, this.blocks, this.drawn);
      const { width, height } = this.place;
      const sheet = (attributes) => shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, ...attributes });
      const lines = sheet({ "aria-hidden": "true" });
      const dots = sheet({ role: "img", "aria-label": this.words.tree_label });
      const above = sheet({ class: "above", "aria-hidden": "true" });
      this.trace = shape("path", { class: "trace", d: "" }, above);
      this.ring = shape("circle", { class: "ring", r: 0, cx: 0, cy: 0 }, above);
      this.layers = this.data.stages.map((_, at) => {
        this.drawStage(lines, dots, at);
        return this.nameStage(above, at);
      });
      this.clips = [box("clip", lines), box("clip", dots)];
      this.svg = dots;
      this.tip = box("tip");
      this.tip.hidden = true;
      const sheets = box("sheets", ...this.clips, above);
      sheets.style.width = `${width}px`;
      sheets.style.height = `${height}px`;
      sheets.addEventListener("click", (event) => { const node = this.nearest(event); if (node >= 0) this.onPick(node); });
      sheets.addEventListener("pointermove", (event) => this.point(this.nearest(event), event));
      sheets.addEventListener("pointerleave", () => this.point(-1));
      this.sheets = sheets;
      this.holder.replaceChildren(sheets, this.tip);
      this.show(this.stage ?? this.data.stages.length - 1, this.picked ?? -1);
    }

    drawStage(linesSheet, dotsSheet, at) {
      const { parent, count, fate, right, stage } = this.data.nodes;
      const { x, y, row, placed } = this.place;
      const lines = new Bundles(linesSheet), dots = new Bundles(dotsSheet);
      for (const block of placed[at]) {
        for (const node of block.nodes) {
          const colour = this.colour(node), given = count[node];
          const kept = fate[node] !== "pruned" && fate[node] !== "failed";
          const from = parent[node];
          if (from >= 0) {
            lines.add(`${colour}|${kept ? Math.max(1, given) : 0}`, line(x[stage[from]], y[from], x[at], y[node]));
          }
          const [mark, size, kind] =
            fate[node] === "failed" ? ["cross", 2.6, "failed"]
            : fate[node] === "finished" ? (right[node] ? ["diamond", Math.min(row * 0.62, 6), "right"] : ["square", Math.min(row * 0.36, 3.4), "ended"])
            : given ? ["dot", radius(given, row), "kept"] : ["dot", Math.min(row * 0.34, 2.6), "pruned"];
          dots.add(`${colour}|${kind}`, MARKS[mark](+x[at].toFixed(1), +y[node].toFixed(1), +size.toFixed(1)));
        }
      }
      lines.draw((key) => {
        const [colour, given] = key.split("|").map(Number);
        return { class: `line d${colour}${given ? "" : " faded"}`, "stroke-width": thickness(given, row).toFixed(2) };
      });
      dots.draw((key) => { const [colour, kind] = key.split("|"); return { class: `dot d${colour} ${kind}` }; });
    }

    /* The number of a stage, and the words of its directions where there is room. */
    nameStage(above, at) {
      const { x, placed, step } = this.place;
      const groups = this.data.stages[at].groups;
      const layer = shape("g", { class: "stage" }, above);
      const label = shape("text", { class: "axis", x: x[at], y: 14, "text-anchor": at ? "middle" : "start" }, layer);
      if (step > 40 || at % 5 === 4 || !at) label.textContent = step > 96 ? `${this.words.step} ${at + 1}` : `${at + 1}`;
      if (step < 96 || at === x.length - 1) return layer;
      const given = ({ name }) => (typeof name === "number" ? groups[name].count : 0);
      const taken = [];
      for (const block of [...placed[at]].sort((a, b) => given(b) - given(a) || b.nodes.length - a.nodes.length)) {
        const { name, top, bottom } = block, middle = (top + bottom) / 2 + 3.5;
        if ((typeof name === "number" && !given(block)) || taken.some((other) => Math.abs(other - middle) < 13)) continue;
        taken.push(middle);
        const words = typeof name === "number" ? groups[name].words : this.words[`fate_${name}`];
        const most = Math.floor((step - 20) / 6.2);
        const text = shape("text", { class: "name", x: x[at] + 12, y: middle }, layer);
        text.textContent = words.length > most ? `${words.slice(0, most - 1)}…` : words;
      }
      return layer;
    }

    nearest(event) {
      const corner = this.sheets.getBoundingClientRect();
      const at = event.clientX - corner.left, down = event.clientY - corner.top;
      let best = -1, distance = 26 * 26;
      this.blocks.forEach((found, stage) => {
        if (stage > this.stage || Math.abs(this.place.x[stage] - at) > 26) return;
        for (const nodes of found.values()) {
          for (const node of nodes) {
            const away = (this.place.x[stage] - at) ** 2 + (this.place.y[node] - down) ** 2;
            if (away < distance) { best = node; distance = away; }
          }
        }
      });
      return best;
    }

    point(node, event) {
      this.sheets.style.cursor = node < 0 ? "default" : "pointer";
      this.tip.hidden = node < 0;
      if (node < 0) return;
      const { key, score, count, text, fate } = this.data.nodes;
      const said = this.data.texts[text[node]].map(([kind, content]) => (kind === "text" ? content : content.replace(/<[^>]*>/g, ""))).join("");
      const figures = score[node] === null ? "" : ` · ${this.words.score} ${score[node].toFixed(3)}`;
      const given = fate[node] === "finished" || fate[node] === "failed" ? this.words[`fate_${fate[node]}`] : `${this.words.rollouts} ${count[node]}`;
      this.tip.textContent = `${key[node]}${figures} · ${given}\n${said.slice(0, 90)}`;
      const box = this.holder.getBoundingClientRect();
      const left = Math.min(event.clientX - box.left + 14, box.width - 190) + this.holder.scrollLeft;
      this.tip.style.left = `${Math.max(4 + this.holder.scrollLeft, left)}px`;
      this.tip.style.top = `${event.clientY - box.top + 16 + this.holder.scrollTop}px`;
    }

    /* Show the search up to a stage, with one node picked (-1 for none). */
    show(stage, picked) {
      this.stage = stage; this.picked = picked;
      const { parent, stage: stages } = this.data.nodes;
      const { x, y, step } = this.place;
      if (picked >= 0) this.reveal(x[stages[picked]], y[picked]);
      this.layers.forEach((layer, at) => {
        layer.classList.toggle("later", at > stage);
        layer.classList.toggle("now", at === stage);
      });
      const ends = stage < 0 ? [0, 0] : [x[stage], x[stage] + step / 2]; /* lines end at the dots of their stage */
      this.clips.forEach((clip, at) => { clip.style.width = `${ends[at]}px`; });
      let path = "";
      for (let node = picked; node >= 0 && parent[node] >= 0; node = parent[node]) {
        path += line(x[stages[parent[node]]], y[parent[node]], x[stages[node]], y[node]);
      }
      this.trace.setAttribute("d", path);
      this.ring.setAttribute("r", picked < 0 ? 0 : 8);
      if (picked < 0) return;
      this.ring.setAttribute("cx", x[stages[picked]]);
      this.ring.setAttribute("cy", y[picked]);
    }

    /* Scroll the picked node into the holder's view, and the page not at all. */
    reveal(x, y) {
      const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.holder;
      if (x < scrollLeft + 20 || x > scrollLeft + clientWidth - 20) this.holder.scrollLeft = x - clientWidth / 2;
      if (y < scrollTop + 20 || y > scrollTop + clientHeight - 20) this.holder.scrollTop = y - clientHeight / 2;
    }

    /* The nodes of a stage from top to bottom. */
    column(stage) { return this.place.placed[stage].flatMap((block) => block.nodes); }
  }

  Object.assign(window.rollwise, { Tree, shape, COLOURS });
})();
