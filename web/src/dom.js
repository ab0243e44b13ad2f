/** The elements of the page: found, made, shown and hidden. */

export const $ = (id) => document.getElementById(id);

/** Shows some elements, or hides them. */
export function show(ids, shown) {
  for (const id of ids) $(id).hidden = !shown;
}

/** Returns an element with a class and children; strings become text. */
export function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}
