/** One revision's prompt, ready to be rendered. What it hands out are copies: a caller may change them. */

import { PayloadError } from "./errors.js";
import type { Values } from "./mustache.js";
import { compileTemplate, type Template } from "./templates.js";

/** A message as model clients take it. */
export interface Message {
  role: string;
  // What a message holds differs by provider; the operator checked it.
  content: any;
  [field: string]: any;
}

export type Fields = Record<string, any>;
type Content = Template | { piece: Fields; template: Template | undefined }[] | undefined;

export const DEFAULT = "default";

/** One prompt of a revision. `variables` are those of the revision's that this part uses. */
export class Part {
  readonly variables: ReadonlySet<string>;
  readonly #fields: Fields;
  readonly #text: Template | undefined;
  readonly #messages: { message: Message; content: Content }[];

  constructor(fields: Fields, format: string, declared: ReadonlySet<string> = new Set()) {
    this.#fields = fields;
    const text: unknown = fields["text"] ?? undefined;
    const messages: unknown = fields["messages"] ?? [];
    if (!Array.isArray(messages) || (text === undefined) === (messages.length === 0)) {
      throw new PayloadError("revision_invalid", "a part needs exactly one of `messages` and `text`");
    }
    if (text !== undefined && typeof text !== "string") {
      throw new PayloadError("revision_invalid", "a prompt's text must be a string");
    }
    this.#text = text === undefined ? undefined : compileTemplate(text, format);
    this.#messages = messages.map((message) => ({ message, content: compileContent(message, format) }));
    const used = this.#templates().flatMap((template) => [...template.names]);
    this.variables = new Set(used.filter((name) => declared.has(name)));
  }

  /** The template of a text prompt; empty for a chat prompt. */
  get text(): string {
    return String(this.#fields["text"] ?? "");
  }

  /** The messages' templates; a text prompt is one user message. */
  get messages(): Message[] {
    if (this.#text) return [{ role: "user", content: this.text }];
    return this.#messages.map(({ message }) => structuredClone(message));
  }

  /** Tool definitions in the provider's format. */
  get tools(): Fields[] {
    return structuredClone(this.#fields["tools"] ?? []);
  }

  /** The wanted form of the answer in the provider's format. */
  get responseFormat(): Fields | undefined {
    return structuredClone(this.#fields["responseFormat"] ?? undefined);
  }

  /** The messages with values filled in. */
  render(values: Values): Message[] {
    if (this.#text) return [{ role: "user", content: this.#text.render(values) }];
    return this.#messages.map(({ message, content }) => renderMessage(message, content, values));
  }

  /** The text with values filled in; of a chat prompt its messages' texts, a blank line between them. */
  renderText(values: Values): string {
    if (this.#text) return this.#text.render(values);
    const contents = this.render(values).map((message) => message.content);
    return contents.filter((content) => typeof content === "string").join("\n\n");
  }

  /** The same part with its templates as plain text. */
  unrendered(): Part {
    return new Part(this.#fields, "none");
  }

  #templates(): Template[] {
    const contents = this.#messages.map(({ content }) => content);
    return [this.#text, ...contents]
      .flatMap((one) => (Array.isArray(one) ? one.map(({ template }) => template) : one))
      .filter((one) => one !== undefined);
  }
}

/** A revision: its parts, model, parameters, variables, extra. */
export class Prompt {
  readonly parts: ReadonlyMap<string, Part>;
  readonly main: Part;
  readonly model: string;
  readonly parameters: Fields;
  readonly extra: Fields;
  readonly variables: ReadonlySet<string>;

  constructor(
    document: Fields,
    readonly revision: string,
  ) {
    const parts: unknown = document["parts"];
    const named = isObject(parts) ? Object.entries(parts) : [];
    if (named.length === 0) throw new PayloadError("revision_invalid", `revision ${revision} has no parts`);
    const format = String(document["templateFormat"] ?? "mustache");
    const variables: unknown = document["variables"] ?? [];
    const declared = new Set(Array.isArray(variables) ? variables.map(String) : []);
    this.variables = declared;
    this.parts = new Map(named.map(([name, fields]) => [name, new Part(asObject(fields), format, declared)]));
    this.main = this.parts.get(DEFAULT) ?? (this.parts.values().next().value as Part);
    this.model = String(document["model"] ?? "");
    this.parameters = isObject(document["parameters"]) ? document["parameters"] : {};
    this.extra = isObject(document["extra"]) ? document["extra"] : {};
  }

  /** A part by name, the main one without a name. Throws when there is none of that name. */
  part(name?: string): Part {
    const part = name ? this.parts.get(name) : this.main;
    if (!part) throw new RangeError(`no part '${name}'`);
    return part;
  }
}

/** What an application may give as its default: a text, messages, or fields as in the API's `inline`. */
export type Default = string | readonly Message[] | Readonly<Fields>;

/** The prompt that the application was given in code. */
export function promptFromCode(given: Default): Prompt {
  const document: Fields = typeof given === "string" ? { text: given }
    : Array.isArray(given) ? { messages: structuredClone(given) }
    : structuredClone(given as Fields);
  const model: unknown = document["model"];
  if (isObject(model)) {
    document["model"] = model["name"];
    document["parameters"] ??= model["parameters"];
  }
  if (!("parts" in document)) {
    const keys = ["messages", "text", "tools", "responseFormat"].filter((key) => document[key] != null);
    document["parts"] = { [DEFAULT]: Object.fromEntries(keys.map((key) => [key, document[key]])) };
  }
  return new Prompt(document, "default");
}

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asObject(value: unknown): Fields {
  if (!isObject(value)) throw new PayloadError("revision_invalid", "a part must be an object");
  return value;
}

function compileContent(message: unknown, format: string): Content {
  if (!isObject(message)) throw new PayloadError("revision_invalid", "a message must be an object");
  const content: unknown = message["content"];
  if (typeof content === "string") return compileTemplate(content, format);
  if (!Array.isArray(content)) return undefined;
  return content.map((piece) => ({
    piece,
    template: isObject(piece) && typeof piece["text"] === "string" ? compileTemplate(piece["text"], format) : undefined,
  }));
}

function renderMessage(message: Message, content: Content, values: Values): Message {
  if (content === undefined) return structuredClone(message);
  if (!Array.isArray(content)) return { ...message, content: content.render(values) };
  const pieces = content.map(({ piece, template }) =>
    template ? { ...piece, text: template.render(values) } : structuredClone(piece),
  );
  return { ...message, content: pieces };
}
