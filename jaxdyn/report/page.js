"use strict";
// Choosing a frame, two of its pictures, the divider between them, and the compute map over them.
for (const viewer of document.querySelectorAll(".viewer")) {
  const one = (selector) => viewer.querySelector(selector);
  const all = (selector) => [...viewer.querySelectorAll(selector)];
  const stage = one(".stage"), divider = one(".divider"), toggle = one(".toggle"), points = one(".points");
  const selects = all("select"), radios = all("input[type=radio]");
  const nameOf = (select) => select.selectedOptions[0].textContent;

  function split() {
    const [left, right] = selects.map(nameOf), share = Math.round(divider.value);
    stage.style.setProperty("--split", `${divider.value}%`);
    divider.setAttribute("aria-valuetext", `${share} % ${left}, ${100 - share} % ${right}`);
  }

  function layers() {
    for (const select of selects) {
      const { side } = select.dataset;
      one(`.tag.${side}`).textContent = nameOf(select);
      for (const image of all(".shot img")) {
        image.classList.toggle(`is-${side}`, image.dataset.layer === select.value);
      }
    }
    split();
  }

  function choose() {
    const chosen = radios.find((radio) => radio.checked).value;
    for (const part of all("[data-shot]")) part.hidden = part.dataset.shot !== chosen;
  }

  function overlay() {
    stage.classList.toggle("has-map", toggle.checked);
    const legend = one(".map-legend");
    if (legend) legend.hidden = !toggle.checked;
  }

  function nearest(event) {
    if (event.target.closest("label")) return;
    const distance = (radio) => {
      const box = radio.getBoundingClientRect();
      return Math.abs(box.left + box.width / 2 - event.clientX);
    };
    const radio = radios.reduce((best, other) => (distance(other) < distance(best) ? other : best));
    radio.checked = true;
    radio.focus({ preventScroll: true });
    choose();
  }

  divider.addEventListener("input", split);
  selects.forEach((select) => select.addEventListener("change", layers));
  radios.forEach((radio) => radio.addEventListener("change", choose));
  if (toggle) toggle.addEventListener("change", overlay);
  if (points) points.addEventListener("click", nearest);
  layers();
  choose();
  if (toggle) overlay();
}
