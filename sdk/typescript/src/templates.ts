/** Templates, compiled once when a payload is loaded. Nothing here can run code or reach into an object. */

import { PayloadError } from "./errors.js";
import { MustacheError, parse, render, toText, type Values } from "./mustache.js";

export type Render = (values: Values) => string;

/** A function from values to text; missing values become empty. PayloadError for a text that is no template. */
export function compileTemplate(text: string, format: string): Render {
  switch (format) {
    case "none":
      return () => text;
    case "mustache":
      return compileMustache(text);
    case "fstring":
      return compileFstring(text);
    case "jinja2":
      throw new PayloadError("template", "jinja2 prompts are for Python: use mustache, fstring or none here");
    default:
      throw new PayloadError("template", `unknown template format '${format}': a newer SDK is needed`);
  }
}

function compileMustache(text: string): Render {
  try {
    const nodes = parse(text);
    return (values) => render(nodes, values);
  } catch (error) {
    if (error instanceof MustacheError) throw new PayloadError("template", error.message);
    throw error;
  }
}

const PIECE = /\{\{|\}\}|\{(?<field>[^{}]*)\}|(?<stray>[{}])/g;
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Python's `str.format` with plain names only. */
function compileFstring(text: string): Render {
  const pieces: { literal: string; name?: string }[] = [];
  let position = 0;
  for (const piece of text.matchAll(PIECE)) {
    const literal = text.slice(position, piece.index);
    position = piece.index + piece[0].length;
    const field = piece.groups?.["field"];
    if (piece.groups?.["stray"]) throw new PayloadError("template", `a single '${piece[0]}' at ${piece.index}`);
    if (field === undefined) {
      pieces.push({ literal: literal + piece[0].charAt(0) });
    } else if (IDENTIFIER.test(field)) {
      pieces.push({ literal, name: field });
    } else {
      throw new PayloadError("template", `{${field}}: only plain names are supported`);
    }
  }
  const tail = text.slice(position);
  return (values) => {
    const parts = pieces.map(({ literal, name }) =>
      name === undefined || !Object.hasOwn(values, name) ? literal : literal + toText(values[name]),
    );
    return parts.join("") + tail;
  };
}
