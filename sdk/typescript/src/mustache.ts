/**
 * Mustache for prompts: the core of the specification, inserted verbatim and without code.
 *
 * What differs from the specification (mustache/spec): values are never HTML-escaped, since a prompt is not HTML, so
 * `{{x}}`, `{{{x}}}` and `{{&x}}` mean the same; partials, lambdas and new delimiters are refused. Lines that hold
 * only a section tag or a comment vanish. `sdk/conformance/templates.json` fixes the details for every language.
 */

export class MustacheError extends Error {}

export type Values = Readonly<Record<string, unknown>>;
export type Node = string | { name: string } | Section;

interface Section {
  name: string;
  inverted: boolean;
  children: Node[];
}

const TAG = /\{\{(?:\{(?<triple>[^}]*)\}|(?<sigil>[#^/!&>=]?)(?<name>[^]*?))\}\}/g;
const NAME = /^(?:\.|[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*)$/;
const DEEPEST = 100;
const REFUSED: Readonly<Record<string, string>> = { ">": "partials", "=": "new delimiters" };

/** The template as a tree. Throws MustacheError. */
export function parse(template: string): Node[] {
  const root: Node[] = [];
  const open: Section[] = [];
  let position = 0;
  // Beyond the last }} there is no tag, and to look for one from each {{ would take the square of the length.
  for (const tag of template.slice(0, template.lastIndexOf("}}") + 2).matchAll(TAG)) {
    const sigil = tag.groups?.["sigil"] ?? "";
    const span: [number, number] = [tag.index, tag.index + tag[0].length];
    const [start, end] = sigil !== "" && "#^/!".includes(sigil) ? standalone(template, span) : span;
    const nodes = open.at(-1)?.children ?? root;
    addText(nodes, template.slice(position, Math.max(start, position)), template, position);
    position = end;
    if (sigil === "!") continue;
    const name = nameOf(tag, sigil, template);
    if (sigil === "#" || sigil === "^") {
      if (open.length === DEEPEST) throw new MustacheError(`more than ${DEEPEST} sections inside each other`);
      const section: Section = { name, inverted: sigil === "^", children: [] };
      nodes.push(section);
      open.push(section);
    } else if (sigil === "/") {
      if (open.at(-1)?.name !== name) {
        throw new MustacheError(`line ${lineOf(template, span[0])}: ${tag[0]} closes nothing open`);
      }
      open.pop();
    } else {
      nodes.push({ name });
    }
  }
  const unclosed = open.at(-1);
  if (unclosed) throw new MustacheError(`{{#${unclosed.name}}} is never closed`);
  addText(root, template.slice(position), template, position);
  return root;
}

/** The first segment of each name used, those inside sections included. */
export function names(nodes: readonly Node[]): Set<string> {
  const found = new Set<string>();
  for (const node of nodes) {
    if (typeof node === "string") continue;
    if (node.name !== ".") found.add(node.name.split(".", 1)[0] ?? "");
    if ("children" in node) for (const name of names(node.children)) found.add(name);
  }
  return found;
}

/** The text with `values`; what is missing becomes empty. */
export function render(nodes: readonly Node[], values: Values): string {
  const out: string[] = [];
  renderInto(nodes, [values], out);
  return out.join("");
}

/** A value as every SDK writes it: nothing for null, numbers as JavaScript writes them, lists and objects as JSON. */
export function toText(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "object") return JSON.stringify(value) ?? "";
  return typeof value === "number" && Object.is(value, -0) ? "0" : String(value);
}

function renderInto(nodes: readonly Node[], stack: readonly unknown[], out: string[]): void {
  for (const node of nodes) {
    if (typeof node === "string") {
      out.push(node);
    } else if (!("children" in node)) {
      out.push(toText(lookup(node.name, stack)));
    } else {
      const value = lookup(node.name, stack);
      if (node.inverted) {
        if (isFalsy(value)) renderInto(node.children, stack, out);
      } else if (!isFalsy(value)) {
        for (const item of Array.isArray(value) ? value : [value]) {
          renderInto(node.children, [...stack, item], out);
        }
      }
    }
  }
}

/** As the specification: false, null and the empty list; and the empty string. Not zero. */
function isFalsy(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "") return true;
  return Array.isArray(value) && value.length === 0;
}

function lookup(name: string, stack: readonly unknown[]): unknown {
  if (name === ".") return stack.at(-1);
  const [first = "", ...rest] = name.split(".");
  let value: unknown;
  for (let i = stack.length - 1; i >= 0; i -= 1) {
    if (has(stack[i], first)) {
      value = (stack[i] as Values)[first];
      break;
    }
  }
  for (const segment of rest) value = has(value, segment) ? (value as Values)[segment] : undefined;
  return value;
}

/** Own members only: no template reaches a prototype. */
function has(value: unknown, key: string): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, key);
}

function nameOf(tag: RegExpMatchArray, sigil: string, template: string): string {
  const name = (tag.groups?.["triple"] ?? tag.groups?.["name"] ?? "").trim();
  const refused = REFUSED[sigil];
  if (!refused && NAME.test(name)) return name;
  const where = `line ${lineOf(template, tag.index ?? 0)}: ${tag[0]}`;
  if (refused) throw new MustacheError(`${where}: ${refused} are not supported`);
  throw new MustacheError(`${where}: ${JSON.stringify(name)} is no name; write {{name}} or {{name.field}}`);
}

function addText(nodes: Node[], text: string, template: string, position: number): void {
  const stray = text.indexOf("{{");
  if (stray >= 0) {
    throw new MustacheError(`line ${lineOf(template, position + stray)}: '{{' without '}}'`);
  }
  if (text) nodes.push(text);
}

/** The span of the tag, widened to its whole line when nothing but blanks share it. */
function standalone(template: string, [from, to]: [number, number]): [number, number] {
  let start = from;
  let end = to;
  while (start > 0 && " \t".includes(template.charAt(start - 1))) start -= 1;
  while (end < template.length && " \t\r".includes(template.charAt(end))) end += 1;
  const begins = start === 0 || template.charAt(start - 1) === "\n";
  const ends = end === template.length || template.charAt(end) === "\n";
  return begins && ends ? [start, Math.min(end + 1, template.length)] : [from, to];
}

function lineOf(template: string, position: number): number {
  return template.slice(0, position).split("\n").length;
}
