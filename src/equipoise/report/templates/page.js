"use strict";
// Unpacks plotly.js, draws every chart in the reader's colour scheme, and redraws for another scheme or for paper.
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset",
  };
  const drawn = new Set();
  let paper = false;

  // Tokens stand only under keys that hold colours: a tensor named "@ink" keeps its name.
  const colour = (value, colours) =>
    Array.isArray(value) ? value.map((v) => colour(v, colours))
      : typeof value === "string" && Object.hasOwn(colours, value) ? colours[value] : value;
  const resolve = (value, colours) => {
    if (Array.isArray(value)) return value.map((v) => (v && typeof v === "object" ? resolve(v, colours) : v));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) =>
      [k, /color(scale)?$/.test(k) ? colour(v, colours) : resolve(v, colours)]));
  };

  const draw = (chart) => {
    const place = document.getElementById("chart-" + chart.id);
    const scheme = figures.schemes[dark.matches && !paper ? "dark" : "light"];
    const layout = resolve(chart.layout, scheme.colours);
    layout.template = scheme.template;
    if (touch) layout.dragmode = false; // a finger scrolls the page, it does not zoom
    if (paper) layout.width = place.closest("#comparison, .n1") ? 650 : 320; // columns of A4
    else layout.autosize = true;
    drawn.add(chart.id);
    return window.Plotly.react(place, resolve(chart.data, scheme.colours), layout, config);
  };
  const redraw = () => figures.charts.filter((c) => drawn.has(c.id)).forEach(draw);
  const pause = () => new Promise((go) => setTimeout(go, 0));

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).text();
  };
  const run = (source) => {
    const script = document.createElement("script");
    script.textContent = source;
    document.head.append(script);
  };
  const start = async () => {
    run(await unpack(document.getElementById("plotly").textContent.trim()));
    for (const chart of figures.charts) {
      await draw(chart);
      await pause(); // the page stays scrollable while charts appear
    }
    root.dataset.charts = "drawn";
  };

  dark.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => { paper = true; redraw(); });
  window.addEventListener("afterprint", () => { paper = false; redraw(); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copies]");
    if (!button) return;
    const code = document.getElementById(button.dataset.copies);
    getSelection().selectAllChildren(code); // seen by the reader, and enough where the clipboard is refused
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => { button.textContent = "Copied"; }, () => {});
  });
  start().catch((error) => {
    root.dataset.charts = "failed";
    document.getElementById("no-charts").hidden = false;
    console.error(error);
  });
})();
