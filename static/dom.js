// Builds elements. Every string becomes a text node, so nothing a rep, a persona or the API said can
// ever turn into markup; attributes are set one by one, so the page needs no `unsafe-inline`.

const SVG = "http://www.w3.org/2000/svg";

/** `h("p", {class: "note", onclick: f}, "text", child, null)`: falsy children and attributes are left out. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Inline icons: stroked paths on a 24-unit square, hidden from assistive technology. */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    ICONS[name].map((d) => svg("path", { d })),
  );
}

const ICONS = {
  mic: ["M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3Z", "M5 11a7 7 0 0 0 14 0", "M12 18v3"],
  muted: ["M9 9v3a3 3 0 0 0 5 2.2M15 11V6a3 3 0 0 0-5.7-1.3", "M5 11a7 7 0 0 0 11.5 5.4M19 11a7 7 0 0 1-.6 2.8", "M12 18v3", "M4 4l16 16"],
  phone: ["M5 4h4l2 5-2.5 1.5a11 11 0 0 0 5 5L15 13l5 2v4a1 1 0 0 1-1 1A15 15 0 0 1 4 5a1 1 0 0 1 1-1Z"],
  hangup: ["M3 14c5-5 13-5 18 0l-2.5 3-4-1.5V12.6a10 10 0 0 0-5 0v2.9l-4 1.5Z"],
  sound: ["M4 9v6h4l5 4V5L8 9Z", "M17 8.5a5 5 0 0 1 0 7"],
  warning: ["M12 4 2.5 20h19Z", "M12 10v4M12 17v.5"],
  check: ["M5 12.5l4.5 4.5L19 7"],
  arrow: ["M9 5l7 7-7 7"],
  back: ["M15 5l-7 7 7 7"],
  spark: ["M12 3v4M12 17v4M3 12h4M17 12h4M6 6l2.5 2.5M15.5 15.5 18 18M18 6l-2.5 2.5M8.5 15.5 6 18"],
};
