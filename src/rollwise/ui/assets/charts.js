/* Charts of a run: a measure against the budget with intervals, and intervals side by side. */
"use strict";
(() => {
  const { shape } = rollwise;
  const WIDTH = 520, HEIGHT = 260, LEFT = 40, RIGHT = 14, TOP = 12, BOTTOM = 34;

  const frame = (label) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label })) svg.setAttribute(key, value);
    return svg;
  };

  /* Lines by name: {name: [{at, mean, low, high}]}; the marks along the axis are spaced evenly. */
  const lines = (series, marks, label, across) => {
    const svg = frame(label);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value);
    const x = (mark, shift) => LEFT + (WIDTH - LEFT - RIGHT) * ((marks.indexOf(mark) + 0.5) / marks.length) + shift;
    for (const level of [0, 0.25, 0.5, 0.75, 1]) {
      shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(level), y2: y(level) }, svg);
      shape("text", { x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, svg).textContent = `${100 * level}%`;
    }
    marks.forEach((mark) => { shape("text", { x: x(mark, 0), y: HEIGHT - 16, "text-anchor": "middle" }, svg).textContent = mark; });
    shape("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 2, "text-anchor": "middle" }, svg).textContent = across;
    const names = Object.keys(series);
    names.forEach((name, place) => {
      const group = shape("g", { class: `d${place % rollwise.COLOURS}` }, svg);
      const shift = (place - (names.length - 1) / 2) * Math.min(9, 90 / names.length);
      const points = series[name].filter((point) => point.mean !== null);
      shape("polyline", { class: "series", points: points.map((point) => `${x(point.at, shift)},${y(point.mean)}`).join(" ") }, group);
      points.forEach((point) => {
        shape("line", { class: "whisker", x1: x(point.at, shift), x2: x(point.at, shift), y1: y(point.low), y2: y(point.high) }, group);
        const dot = shape("circle", { class: "point", cx: x(point.at, shift), cy: y(point.mean), r: 3.6 }, group);
        shape("title", {}, dot).textContent = `${name}, ${point.at}: ${rollwise.percent(point.mean)} (${rollwise.percent(point.low)} – ${rollwise.percent(point.high)})`;
      });
    });
    return svg;
  };

  const legend = (names) => rollwise.h("ul", { class: "legend" }, names.map((name, place) =>
    rollwise.h("li", {}, rollwise.h("i", { class: `chip d${place % rollwise.COLOURS}`, "aria-hidden": "true" }), name)));

  rollwise.charts = { lines, legend };
})();
