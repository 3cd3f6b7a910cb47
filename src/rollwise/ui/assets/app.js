/* The frame of the dashboard: its views by address, its words, and how it asks the server. */
"use strict";
(async () => {
  const { h } = rollwise;
  const view = document.getElementById("view"), top = document.getElementById("top");
  const app = { language: localStorage.getItem("rollwise-language") || undefined, timers: [], visit: 0, keys: null };

  /* JSON from the server; an error of the server becomes an Error with its message. */
  app.api = async (path, body, method) => {
    const options = body === undefined ? { method: method || "GET" } : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const reply = await fetch(`api/${path}`, options);
    const told = await reply.json().catch(() => ({ error: `${reply.status} ${reply.statusText}` }));
    if (reply.status === 401 && told.login) location.assign(told.login);
    if (!reply.ok) throw new Error(told.error || (told.detail && told.detail[0] && `${told.detail[0].loc.slice(1).join(".")}: ${told.detail[0].msg}`) || reply.statusText);
    return told;
  };
  app.go = (hash) => { location.hash = hash; };
  app.alive = () => { const mine = app.visit; return () => mine === app.visit; };
  app.every = (pause, work) => {
    const alive = app.alive();
    const again = async () => {
      if (!alive()) return;
      const more = await work().catch(() => true); /* a server that does not answer is asked again */
      if (more && alive()) setTimeout(again, pause);
    };
    setTimeout(again, pause);
  };

  const links = () => [
    ...(app.about.run ? [] : app.about.views.map(({ name, title }) => [name, title])),
    ...(app.about.run ? [["run", app.words.run], ["searches", app.words.searches], ["compare", app.words.compare]] : []),
    ...(app.about.tries ? [["try", app.words.try]] : []), ["lab", app.words.lab],
    ...(app.about.run ? app.about.views.map(({ name, title }) => [name, title]) : []),
  ];

  const frame = (current) => {
    const within = { search: "searches", beside: "compare", ...rollwise.within }[current] || current;
    const chosen = h("select", { "aria-label": app.words.language, onchange: (event) => { app.language = event.target.value; localStorage.setItem("rollwise-language", app.language); start(); } },
      app.about.languages.map((one) => h("option", { value: one, selected: one === app.language }, { en: "English", ja: "日本語" }[one] || one)));
    top.replaceChildren(h("a", { class: "brand", href: "#/" }, "rollwise"),
      h("nav", { "aria-label": app.words.views }, links().map(([name, title]) => h("a", { href: `#/${name}`, "aria-current": name === within ? "page" : null }, title))), chosen);
  };

  const route = async () => {
    app.visit += 1;
    app.keys = null;
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    app.path = path.split("/").filter(Boolean);
    app.query = new URLSearchParams(query || "");
    const name = app.path[0] || links()[0][0];
    frame(name);
    const alive = app.alive();
    const draw = Object.hasOwn(rollwise.views, name) ? rollwise.views[name] : null;
    const holder = h("div", {});
    view.replaceChildren(holder);
    view.className = "";
    try {
      if (!draw) throw new Error(rollwise.fill(app.words.no_view, { name }));
      await draw(holder, app);
    } catch (error) {
      if (alive()) holder.append(h("p", { class: "error", role: "alert" }, error.message));
    }
    if (alive()) view.classList.add("ready");
  };

  const start = async () => {
    app.about = await app.api(`about${app.language ? `?language=${app.language}` : ""}`);
    app.words = app.about.words;
    app.language = app.about.language;
    document.documentElement.lang = app.language;
    await route();
  };

  addEventListener("hashchange", route);
  document.addEventListener("keydown", (event) => { if (event.target === document.body && app.keys) app.keys.key(event); });
  rollwise.app = app;
  await start();
})();
