"use strict";
// Moves the threshold over the histogram: by pointer, by keyboard, or to a configured cut.
(() => {
  const data = JSON.parse(document.getElementById("stops").textContent);
  const stops = data.stops.map(([similarity, kept, cut]) => ({ similarity, kept, cut }));
  const [plot, slider, clip] = ["plot", "threshold", "kept-clip"].map((id) => document.getElementById(id));
  const outputs = Object.fromEntries(["kept", "share", "below", "at"].map((id) => [id, document.getElementById(id)]));
  const buttons = [...document.querySelectorAll("button[data-cut]")];
  const count = new Intl.NumberFormat("en-US");
  const page = 20;
  let current = data.start;

  const placeOf = (similarity) => (similarity - data.low) / (data.high - data.low);

  function show(index) {
    current = Math.min(stops.length - 1, Math.max(0, index));
    const { similarity, kept, cut } = stops[current];
    const texts = {
      kept: count.format(kept),
      share: `${((100 * kept) / data.eligible).toFixed(1)}%`,
      below: count.format(data.eligible - kept),
      at: similarity.toFixed(4).replace("-", "\u2212"),
    };
    for (const [id, text] of Object.entries(texts)) outputs[id].textContent = text;
    clip.setAttribute("x", data.bars * placeOf(similarity));
    slider.style.left = `${100 * placeOf(similarity)}%`;
    slider.setAttribute("aria-valuenow", similarity);
    slider.setAttribute(
      "aria-valuetext",
      `similarity ${texts.at}: ${texts.kept} pairs kept, ${texts.share}, ${texts.below} below`,
    );
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.cut === cut);
  }

  function showNearest(clientX) {
    const box = plot.getBoundingClientRect();
    const wanted = data.low + ((clientX - box.left) / box.width) * (data.high - data.low);
    const distance = (index) => Math.abs(stops[index].similarity - wanted);
    show([...stops.keys()].reduce((best, index) => (distance(index) < distance(best) ? index : best)));
  }

  const moves = {
    ArrowLeft: () => current - 1,
    ArrowDown: () => current - 1,
    ArrowRight: () => current + 1,
    ArrowUp: () => current + 1,
    PageDown: () => current - page,
    PageUp: () => current + page,
    Home: () => 0,
    End: () => stops.length - 1,
  };
  slider.addEventListener("keydown", (event) => {
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(moves[event.key]());
  });
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    slider.focus({ preventScroll: true });
    event.preventDefault();
    showNearest(event.clientX);
  });
  plot.addEventListener("pointermove", (event) => {
    if (plot.hasPointerCapture(event.pointerId)) showNearest(event.clientX);
  });
  for (const button of buttons) {
    button.addEventListener("click", () => show(stops.findIndex((stop) => stop.cut === button.dataset.cut)));
  }

  slider.hidden = false;
  show(current);
})();
