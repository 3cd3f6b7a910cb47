/* The operations of a service: alarms, servers, and for each route its stage, gate, figures, costs and changes. */
"use strict";
(() => {
  const { h, shape } = rollwise;
  const PAUSE = 5000, WIDTH = 220, HEIGHT = 44;
  const SHARES = new Set(["golden_accuracy", "feedback_accuracy", "agreement", "errors", "unanswered", "saved"]);
  const DIGITS = { tokens: 0, directions: 1, seconds_50: 2, seconds_95: 2, seconds_99: 2 };

  const number = (name, value) => {
    if (value === null || value === undefined) return "–";
    if (SHARES.has(name)) return `${(100 * value).toFixed(1)} %`;
    if (name === "money") return value.toPrecision(3);
    if (name === "return") return `× ${value.toPrecision(3)}`;
    return value.toLocaleString("en", { minimumFractionDigits: DIGITS[name] ?? 3, maximumFractionDigits: DIGITS[name] ?? 3 });
  };
  /* A bound as it was declared. */
  const exact = (name, value) => `${name === "return" ? "× " : ""}${Number(((SHARES.has(name) ? 100 : 1) * value).toPrecision(6))}${SHARES.has(name) ? " %" : ""}`;
  const time = (text) => (text || "").replace("T", " ").slice(0, 19);

  /* A small chart of the figure over its searches, the oldest left, with its bound as a dashed line. */
  const spark = (figure, label) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ class: "chart spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label })) svg.setAttribute(key, value);
    const known = figure.series.filter((value) => value !== null);
    const reach = figure.bound === null ? known : [...known, figure.bound];
    const top = SHARES.has(figure.name) ? 1 : Math.max(...reach, 1e-9) * 1.05, low = SHARES.has(figure.name) ? 0 : Math.min(...reach, 0);
    const y = (value) => 3 + (HEIGHT - 6) * (1 - (value - low) / (top - low)), x = (at) => 3 + (WIDTH - 6) * at / (figure.series.length - 1);
    if (figure.bound !== null) shape("line", { class: "bound", x1: 0, x2: WIDTH, y1: y(figure.bound), y2: y(figure.bound) }, svg);
    shape("polyline", { class: "series", points: figure.series.map((value, at) => (value === null ? "" : `${x(at).toFixed(1)},${y(value).toFixed(1)}`)).join(" ").trim() }, svg);
    return svg;
  };

  const state = (words, figure) => {
    if (figure.alarm) return ["alarm", `▲ ${words.state_alarm}`];
    if (figure.value === null) return ["few", words.state_unknown];
    if (figure.samples < figure.needed) return ["few", words.state_few];
    return figure.bound === null ? ["few", words.state_unbound] : ["ok", `✓ ${words.state_ok}`];
  };

  const card = (words, figure) => {
    const name = words[`figure_${figure.name}`], [kind, said] = state(words, figure);
    const bound = figure.bound === null ? "" : `${figure.most ? "≤" : "≥"} ${exact(figure.name, figure.bound)}`;
    return h("li", { class: `figure ${kind}` },
      h("h4", {}, name),
      h("p", { class: "value" }, number(figure.name, figure.value), bound ? h("span", { class: "bound-text" }, bound) : ""),
      figure.low === null ? "" : h("p", { class: "small" }, `95 %: ${number(figure.name, figure.low)} – ${number(figure.name, figure.high)}`),
      h("p", { class: "small" }, h("span", { class: "said" }, said), ` · n = ${figure.samples}${figure.samples < figure.needed ? ` / ${figure.needed}` : ""}`),
      figure.series.length > 1 ? spark(figure, `${name}: ${figure.series.map((value) => number(figure.name, value)).join(", ")}`) : "");
  };

  const figures = (words, route) => {
    const groups = [...new Set(route.figures.map((figure) => figure.rule))];
    return groups.map((rule) => {
      const label = rule === "" ? words.of_questions : `${words.rule} ${rule}${rule === route.current ? ` · ${words.answers_now}` : rule === route.candidate ? ` · ${words.candidate}` : ""}`;
      return h("section", {}, h("h3", {}, label), h("ul", { class: "figures" }, route.figures.filter((figure) => figure.rule === rule).map((figure) => card(words, figure))));
    });
  };

  /* The rules in order, and the stages of the candidate. */
  const ladder = (words, route) => {
    const steps = [["off", words.stage_off], ["shadow", words.stage_shadow], ...route.canary.map((share) => [`canary ${share}`, `${words.stage_canary} ${share} %`]), ["full", words.stage_full]];
    const now = route.stage === "canary" ? `canary ${route.percent}` : route.stage;
    return h("div", { class: "ladder" },
      h("ol", { class: "rules", "aria-label": words.rules }, route.rules.map((rule) => h("li", { class: rule === route.current ? "current" : rule === route.candidate ? "candidate" : "" }, rule,
        rule === route.current ? h("small", {}, words.answers_now) : rule === route.candidate ? h("small", {}, words.candidate) : ""))),
      route.candidate === null ? h("p", { class: "help" }, words.no_candidate)
        : h("ol", { class: "stages", "aria-label": `${words.stage_of} ${route.candidate}` }, steps.map(([name, label]) => h("li", { "aria-current": name === now ? "step" : null }, label))));
  };

  const gate = (words, route) => {
    if (route.candidate === null) return "";
    if (!route.gate) return h("p", { class: "help" }, words.no_gate);
    const { limits, verdict } = route.gate, none = !verdict.samples;
    const signed = (value) => `${value >= 0 ? "+" : "−"}${(100 * Math.abs(value)).toFixed(1)}`;
    const rows = [
      [words.gate_samples, `${verdict.samples}`, `≥ ${limits.samples}`, verdict.samples >= limits.samples],
      [words.gate_gain.replace("{level}", `${100 * limits.confidence}`), none ? "–" : `${signed(verdict.low)} – ${signed(verdict.high)}`, `≥ ${signed(limits.least_gain)}`, !none && verdict.low >= limits.least_gain],
      [words.gate_cost, none ? "–" : `× ${verdict.cost.toFixed(2)}`, `≤ × ${limits.most_cost}`, !none && verdict.cost <= limits.most_cost],
    ];
    const open = rows.every((row) => row[3]);
    return h("section", {}, h("h3", {}, words.gate),
      h("p", { class: "help" }, open ? words.gate_open : words.gate_closed, none ? "" : ` ${words.gate_accuracy}: ${route.current} ${(100 * verdict.current).toFixed(1)} %, ${route.candidate} ${(100 * verdict.candidate).toFixed(1)} %.`),
      rollwise.parts.table(`${words.gate} ${route.route}`, [words.condition, words.so_far, words.needed, words.state], rows.map(([name, has, needs, met]) => [name, has, needs, h("span", { class: met ? "yes" : "no" }, met ? `✓ ${words.met}` : `✗ ${words.unmet}`)]), [words.condition]));
  };

  const band = (words, route) => (route.candidate === null || route.stage === "off" ? ""
    : h("p", { class: "help" }, route.band.cause ? `${words.leaves_band}: ${route.band.cause}` : words.in_band.replace("{seen}", route.band.seen).replace("{window}", route.band.window),
      ` ${words.shadow_tokens}: ${route.band.shadow_tokens.toLocaleString("en")} / ${route.band.shadow_limit.toLocaleString("en")}.`));

  const costs = (words, route) => h("section", {}, h("h3", {}, words.costs),
    route.priced ? "" : h("p", { class: "help" }, words.no_prices),
    route.costs.length ? rollwise.parts.table(`${words.costs} ${route.route}`, [words.rule, words.purpose, words.searches, words.tokens, words.money],
      route.costs.map((cost) => [cost.rule, words[`purpose_${cost.purpose}`] || cost.purpose, cost.searches.toLocaleString("en"), (cost.tokens || 0).toLocaleString("en"), route.priced ? (cost.money || 0).toPrecision(3) : "–"]), [words.rule, words.purpose])
      : h("p", { class: "help" }, words.no_searches));

  const changes = (words, route) => h("section", {}, h("h3", {}, words.changes),
    route.changes.length ? rollwise.parts.table(`${words.changes} ${route.route}`, [words.when, words.what, words.who, words.why_changed],
      route.changes.map((change) => [time(change.created), `${words[`change_${change.kind}`] || change.kind}: ${change.after.candidate ?? change.after.current} ${words[`stage_${change.after.stage}`]}${change.after.stage === "canary" ? ` ${change.after.percent} %` : ""}`, change.by, h("div", { class: "reason" }, change.reason)]), [words.when, words.what, words.who, words.why_changed])
      : h("p", { class: "help" }, words.no_changes));

  const alarms = (words, told) => {
    const down = told.servers.filter((server) => !server.up).map((server) => `${server.url}: ${words.server_down}${server.reason ? ` (${server.reason})` : ""}`);
    const broken = told.routes.filter((route) => route.broken).map((route) => `${route.route}: ${route.broken}`);
    const said = told.routes.flatMap((route) => route.alarms.map((alarm) => (alarm.kind === "figure"
      ? `${route.route}${alarm.rule ? `, ${alarm.rule}` : ""}: ${words[`figure_${alarm.name}`]} ${number(alarm.name, alarm.value)} (${alarm.most ? "≤" : "≥"} ${exact(alarm.name, alarm.bound)})`
      : `${route.route}: ${words[`change_${alarm.kind}`]} ${time(alarm.created)}, ${alarm.by}: ${alarm.reason}`)));
    const all = [...(told.draining ? [words.draining] : []), ...down, ...broken, ...said];
    return h("section", { class: `panel alarms ${all.length ? "some" : ""}` }, h("h2", {}, `${words.alarms} (${all.length})`),
      all.length ? h("ul", {}, all.map((text) => h("li", {}, text))) : h("p", { class: "help" }, words.no_alarms));
  };

  const servers = (words, told) => (told.servers.length ? h("section", { class: "panel" }, h("h2", {}, words.servers),
    rollwise.parts.table(words.servers, [words.address, words.state, words.since], told.servers.map((server) => [server.url,
      h("span", { class: server.up ? "yes" : "no" }, server.up ? `✓ ${words.server_up}` : `✗ ${words.server_down}`), time(new Date(1000 * server.since).toISOString())]), [words.address])) : "");

  const route = (words, one) => h("section", { class: "panel route", "aria-label": `${words.route} ${one.route}` },
    h("h2", {}, `${words.route} ${one.route}`, " ", h("a", { class: "small", href: `#/records?route=${encodeURIComponent(one.route)}` }, words.show_searches)),
    ladder(words, one), gate(words, one), band(words, one), figures(words, one), h("div", { class: "two" }, costs(words, one), changes(words, one)));

  rollwise.views.operations = async (holder, app) => {
    const { words } = app;
    let paused = false, seen = {};
    const line = h("p", { class: "help" }), alarm = h("div", { role: "status" }), below = h("div", {}), places = {};
    const pause = h("button", { type: "button", class: "plain", "aria-pressed": "false", onclick: () => { paused = !paused; pause.setAttribute("aria-pressed", String(paused)); pause.textContent = paused ? words.go_on : words.pause; } }, words.pause);
    const leave = h("button", { type: "button", class: "plain", hidden: true, onclick: async () => { await fetch("logout", { method: "POST" }); location.assign("login"); } }, words.log_out);
    holder.replaceChildren(h("div", { class: "bar" }, h("h1", {}, words.title_operations), pause, leave), line, alarm, below);
    /* A part is drawn anew only if its data changed, so that the focus and the place in a table stay. */
    const put = (name, parent, data, make) => {
      const text = JSON.stringify(data);
      places[name] = places[name] || parent.appendChild(h("div", { class: "part" }));
      if (seen[name] !== text) { seen[name] = text; places[name].replaceChildren(make()); }
    };
    const draw = async () => {
      if (paused) return true;
      try {
        const told = await app.api("operations/state");
        leave.hidden = !told.keys;
        line.textContent = words.as_of.replace("{now}", time(told.now)).replace("{started}", time(told.started)).replace("{running}", told.running).replace("{waiting}", told.waiting);
        put("alarms", alarm, [told.draining, told.servers, told.routes.map((one) => [one.alarms, one.broken])], () => alarms(words, told));
        told.routes.forEach((one) => put(`route ${one.route}`, below, one, () => route(words, one)));
        put("servers", below, told.servers, () => servers(words, told));
      } catch (error) {
        seen = {};
        alarm.replaceChildren(places.alarms = h("div", { class: "part" }, h("p", { class: "error" }, `${words.no_state} ${error.message}`)));
      }
      return true;
    };
    await draw();
    app.every(PAUSE, draw);
  };
})();
