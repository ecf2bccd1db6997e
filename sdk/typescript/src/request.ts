/** One logical request: from its opening to its end, however many calls or retries are inside. */

import type { Assignment } from "./assignment.js";
import { ERRORS, type Outcome, OUTCOMES } from "./counting.js";
import { reasonOf, said } from "./errors.js";

/** Which errors mean that the caller went away: classes, or a function that knows. */
export type Aborts = readonly (abstract new (...args: never[]) => unknown)[] | ((error: unknown) => boolean);

export interface RequestOptions {
  /** What counts as aborted besides an `AbortError`. */
  readonly aborts?: Aborts;
}

/** Counts and times one request; nothing it does throws. */
export class Request {
  readonly #assignment: Assignment;
  readonly #aborts: Aborts;
  readonly #started = performance.now();
  #first = 0;
  #input = 0;
  #output = 0;
  #usd = 0;
  #events: Set<string> | undefined;
  #outcome: Outcome | undefined;
  #ended = false;

  /** @internal */
  constructor(assignment: Assignment, options?: RequestOptions) {
    this.#assignment = assignment;
    this.#aborts = options?.aborts ?? [];
  }

  /** The first token has arrived; later calls are ignored. */
  firstToken(): void {
    if (!this.#first) this.#first = performance.now();
  }

  /** Tokens used by a call; the calls of one request add up. */
  tokens(used: { input?: number; output?: number }): void {
    this.#inTime("tokens");
    if (used?.input !== undefined) this.#input += this.#amount("input", used.input);
    if (used?.output !== undefined) this.#output += this.#amount("output", used.output);
  }

  /** What a call cost; the calls of one request add up. */
  cost(spent: { usd: number }): void {
    this.#inTime("cost");
    this.#usd += this.#amount("usd", spent?.usd);
  }

  /** Something happened that is compared between arms; `name` is one of the rollout's `events`. */
  event(name: string): void {
    this.#inTime("event");
    (this.#events ??= new Set()).add(said(name));
  }

  /** Say what the request came to, whatever error ends it. */
  outcome(name: Outcome): void {
    this.#inTime("outcome");
    this.#outcome = name;
  }

  /** Hands the chunks on and notes the first. */
  async *stream<T>(chunks: AsyncIterable<T> | Iterable<T>): AsyncGenerator<T, void, undefined> {
    for await (const chunk of chunks) {
      this.firstToken();
      yield chunk;
    }
  }

  /** The request is over, and went well unless `outcome` says otherwise. Only the first end counts. */
  end(outcome: Outcome = "ok"): void {
    if (this.#ended) return;
    this.#ended = true;
    try {
      this.#count(this.#outcome ?? outcome, performance.now() - this.#started);
    } catch (error) {
      this.#assignment.rollout.problem("count", `a request could not be counted: ${reasonOf(error)}`);
    }
  }

  /** The request ended by an error: the prompt's, unless it says that the caller went away. */
  fail(error: unknown): void {
    this.end(this.#isAbort(error) ? "aborted" : "error");
  }

  #isAbort(error: unknown): boolean {
    if (error instanceof Error && error.name === "AbortError") return true;
    const aborts = this.#aborts;
    try {
      if (typeof aborts === "function" ? aborts(error) : aborts.some((kind) => error instanceof kind)) return true;
    } catch (wrong) {
      this.#assignment.rollout.problem("aborts", `\`aborts\` cannot be asked: ${reasonOf(wrong)}`);
    }
    // As Promise.any throws it: what all of it is.
    if (!(error instanceof AggregateError) || error.errors.length === 0) return false;
    return error.errors.every((one) => this.#isAbort(one));
  }

  /** What is told of tokens and cost, if it can be added up: one Infinity would spoil a counter for ever. */
  #amount(name: string, value: unknown): number {
    if (typeof value === "number" && value >= 0 && value < Infinity) return value;
    this.#assignment.rollout.problem("usage", `${name} must be a number from 0, was ${said(value)}: not counted`);
    return 0;
  }

  #inTime(what: string): void {
    if (!this.#ended) return;
    const why = "was told after the request had ended: not counted, tell it before";
    this.#assignment.rollout.problem("ended", `${what} ${why}`);
  }

  #count(ending: Outcome, elapsedMs: number): void {
    const a = this.#assignment;
    let outcome = ending;
    if (!OUTCOMES.includes(outcome)) {
      a.rollout.problem("outcome", `unknown outcome '${said(outcome)}'; one of ${OUTCOMES.join(", ")}`);
      outcome = "error";
    }
    if (a.renderFailed && outcome === "ok") outcome = "error";
    const { series } = a.served;
    series.idle = false;
    series.outcomes[outcome].inc();
    // How long an aborted request would have taken, nobody knows.
    if (outcome !== "aborted") series.duration.observe(elapsedMs / 1000);
    if (this.#first) series.firstToken.observe((this.#first - this.#started) / 1000);
    series.tokensIn.inc(this.#input);
    series.tokensOut.inc(this.#output);
    series.cost.inc(this.#usd);
    if (a.inShadow) a.rollout.shadows.spend(this.#usd);
    a.countUnit(this.#known(outcome));
  }

  /** Each event once; what the rollout was not told of cannot be compared. */
  #known(outcome: Outcome): readonly string[] {
    if (!this.#events && outcome !== "error") return [];
    const { rollout, served } = this.#assignment;
    const known: string[] = outcome === "error" ? [ERRORS] : [];
    for (const name of this.#events ?? []) {
      if (!served.series.unitEvents.has(name)) {
        rollout.problem("event", `event '${name}' is not among the rollout's \`events\``);
      } else if (name !== ERRORS) {
        served.series.events.get(name)?.inc();
        known.push(name);
      } else if (outcome !== "error") {
        known.push(name);
      }
    }
    return known;
  }
}
