"use strict";
// Elements. Text from agents becomes text nodes and attribute values, never markup.

/** Makes an element. Functions in `props` are listeners, `null` and `false` are left out. */
function el(name, props, ...children) {
  return filled(document.createElement(name), props, children);
}

/** Makes an element of SVG. */
function svg(name, props, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), props, children);
}

function filled(element, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "style") Object.assign(element.style, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Returns the color of a custom property, such as `model`. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
