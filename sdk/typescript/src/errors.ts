/** What can be wrong outside the request path, and how it is said once. */

/** A payload that is not served. `reason` is a label value of promptrollout_payload_errors_total. */
export class PayloadError extends Error {
  override readonly name = "PayloadError";

  constructor(
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

/** Where log lines go; `console` is one. */
export interface Logger {
  info(message: string): void;
  warn(message: string): void;
}

/** Warnings to standard error, news of loads nowhere: what a library may say unasked. */
export const defaultLogger: Logger = { info: () => undefined, warn: (message) => console.warn(message) };

const LIMIT = 256;
const LONGEST = 1000;

/** Says each distinct problem once, so that a broken caller cannot flood the log. */
export class Once {
  readonly #said = new Set<string>();

  constructor(private readonly logger: Logger) {}

  warn(text: string): void {
    const message = text.slice(0, LONGEST);
    if (this.#said.has(message) || this.#said.size >= LIMIT) return;
    this.#said.add(message);
    this.logger.warn(message);
  }
}

/** The message of whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : said(error);
}

/** Any value as a text; one that refuses to be one is its type. What an application hands over may be anything. */
export function said(value: unknown): string {
  try {
    return String(value);
  } catch {
    return typeof value;
  }
}
