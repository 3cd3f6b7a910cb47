/* Charts of a run: a share against the budget or against a cost, with the intervals of both. */
"use strict";
(() => {
  const { h, shape } = rollwise;
  const WIDTH = 400, HEIGHT = 250, LEFT = 40, RIGHT = 14, TOP = 12, BOTTOM = 34;

  const frame = (label) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label })) svg.setAttribute(key, value);
    return svg;
  };

  /* 1234567 as 1.2M, and what no unit fits as 3.4e15. */
  const brief = (value) => {
    const [size, unit] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([size]) => value >= size) || [1, ""];
    return value >= 1e15 ? value.toExponential(1).replace("+", "") : `${Number((value / size).toPrecision(2))}${unit}`;
  };

  /* Marks of a logarithmic axis: 1, 2 and 5 times powers of ten, or only the powers where there are many. */
  const logMarks = (low, high) => {
    const powers = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) powers.push(10 ** power);
    const marks = powers.flatMap((power) => (powers.length > 3 ? [power] : [power, 2 * power, 5 * power]));
    return marks.filter((mark) => mark >= low && mark <= high);
  };

  /* The axis across. Budgets are spaced evenly, and strategies stand beside each other; costs are logarithmic. */
  const across = (points, budgets) => {
    const room = WIDTH - LEFT - RIGHT;
    if (budgets) {
      return { marks: budgets.map((at) => [at, `${at}`]), x: (at, shift) => LEFT + room * ((budgets.indexOf(at) + 0.5) / budgets.length) + shift };
    }
    const ends = points.flatMap(({ at, from, to }) => [at, from ?? at, to ?? at]).filter((value) => value > 0);
    const [low, high] = [Math.min(...ends) / 1.15, Math.max(...ends) * 1.15];
    return { marks: logMarks(low, high).map((at) => [at, brief(at)]), x: (at) => LEFT + room * (Math.log(Math.max(at, low) / low) / Math.log(high / low)) };
  };

  /* Lines by name: {name: [{at, from, to, mean, low, high}]}, each point with what it says. Without `budgets`, `at` is a
     cost whose interval is drawn too. */
  const lines = (series, budgets, label, axis) => {
    const svg = frame(label);
    const names = Object.keys(series);
    const { marks, x } = across(names.flatMap((name) => series[name]), budgets);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value);
    for (const level of [0, 0.25, 0.5, 0.75, 1]) {
      shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(level), y2: y(level) }, svg);
      shape("text", { x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, svg).textContent = `${100 * level}%`;
    }
    marks.forEach(([at, text]) => { shape("text", { x: x(at, 0), y: HEIGHT - 16, "text-anchor": "middle" }, svg).textContent = text; });
    shape("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 2, "text-anchor": "middle" }, svg).textContent = axis;
    names.forEach((name, place) => {
      const group = shape("g", { class: `d${place % rollwise.COLOURS}` }, svg);
      const shift = budgets ? (place - (names.length - 1) / 2) * Math.min(9, 90 / names.length) : 0;
      const points = series[name];
      shape("polyline", { class: "series", points: points.map((point) => `${x(point.at, shift)},${y(point.mean)}`).join(" ") }, group);
      points.forEach((point) => {
        const [left, down] = [x(point.at, shift), y(point.mean)];
        shape("line", { class: "whisker", x1: left, x2: left, y1: y(point.low), y2: y(point.high) }, group);
        if (!budgets && point.from !== null) shape("line", { class: "whisker", x1: x(point.from), x2: x(point.to), y1: down, y2: down }, group);
        shape("title", {}, shape("circle", { class: "point", cx: left, cy: down, r: 3.6 }, group)).textContent = point.said;
      });
    });
    return svg;
  };

  const legend = (names) => h("ul", { class: "legend" }, names.map((name, place) =>
    h("li", {}, h("i", { class: `chip d${place % rollwise.COLOURS}`, "aria-hidden": "true" }), name)));

  rollwise.charts = { lines, legend, brief };
})();
