/** Templates, compiled once when a payload is loaded. Nothing here can run code or reach into an object. */

import { PayloadError } from "./errors.js";
import { MustacheError, names, parse, render, toText, type Values } from "./mustache.js";

export interface Template {
  /** From values to text; missing values become empty. */
  readonly render: (values: Values) => string;
  /** What it looks up, its own names included. */
  readonly names: ReadonlySet<string>;
}

/** The template. PayloadError for a text that is none. */
export function compileTemplate(text: string, format: string): Template {
  switch (format) {
    case "none":
      return { render: () => text, names: new Set() };
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

function compileMustache(text: string): Template {
  try {
    const nodes = parse(text);
    return { render: (values) => render(nodes, values), names: names(nodes) };
  } catch (error) {
    if (error instanceof MustacheError) throw new PayloadError("template", error.message);
    throw error;
  }
}

const PIECE = /\{\{|\}\}|\{(?<field>[^{}]*)\}|(?<stray>[{}])/g;
const FIELD = /^([A-Za-z_][A-Za-z0-9_]*):?$/; // Python takes `{name:}`, an empty format, for a plain name too

/** Python's `str.format` with plain names only. */
function compileFstring(text: string): Template {
  const pieces: { literal: string; name?: string }[] = [];
  let position = 0;
  for (const piece of text.matchAll(PIECE)) {
    const literal = text.slice(position, piece.index);
    position = piece.index + piece[0].length;
    const field = piece.groups?.["field"];
    if (piece.groups?.["stray"]) throw new PayloadError("template", `a single '${piece[0]}' at ${piece.index}`);
    if (field === undefined) {
      pieces.push({ literal: literal + piece[0].charAt(0) });
    } else {
      const name = FIELD.exec(field)?.[1];
      if (!name) throw new PayloadError("template", `{${field}}: only plain names are supported`);
      pieces.push({ literal, name });
    }
  }
  const tail = text.slice(position);
  const fill = (values: Values): string => {
    const parts = pieces.map(({ literal, name }) =>
      name === undefined || !Object.hasOwn(values, name) ? literal : literal + toText(values[name]),
    );
    return parts.join("") + tail;
  };
  return { render: fill, names: new Set(pieces.flatMap(({ name }) => name ?? [])) };
}
