/** Which prompt one request gets, and what is counted for it. */

import { reasonOf } from "./errors.js";
import { clusterOf } from "./hashing.js";
import type { Values } from "./mustache.js";
import { formatPin, formatToken, type Pin } from "./pins.js";
import type { Fields, Message, Part } from "./prompt.js";
import { Request, type RequestOptions } from "./request.js";
import type { PromptRollout } from "./rollout.js";
import type { Served } from "./serving.js";
import type { Pair, Run } from "./shadow.js";

/** The prompt for one request of one unit. What it hands out are copies. */
export class Assignment {
  /** @internal */ renderFailed = false;
  /** @internal */ inShadow = false;
  /** @internal */ pair: Pair | undefined;
  #cluster = -1;
  readonly #scored: [string, number][] = [];

  /** @internal */
  constructor(
    /** @internal */ readonly rollout: PromptRollout,
    /** @internal */ readonly served: Served,
    /** The unit's id, drawn at random when none was given. */
    readonly unit: string,
    readonly unitGiven: boolean,
    private readonly from?: Pin,
  ) {}

  // What to send -----------------------------------------------------------------------------------------------

  /** The model's name; empty if the prompt names none. */
  get model(): string {
    return this.served.prompt.model;
  }

  /** The model's parameters. */
  get parameters(): Fields {
    return structuredClone(this.served.prompt.parameters);
  }

  /** Whatever else the revision holds: an index name, a retrieval depth. */
  get extra(): Fields {
    return structuredClone(this.served.prompt.extra);
  }

  /** The messages' templates, for rendering of one's own. */
  get messages(): Message[] {
    return this.served.prompt.main.messages;
  }

  /** Tool definitions in the provider's format. */
  get tools(): Fields[] {
    return this.served.prompt.main.tools;
  }

  /** The wanted form of the answer in the provider's format. */
  get responseFormat(): Fields | undefined {
    return this.served.prompt.main.responseFormat;
  }

  /** The parts by name; a single prompt is the part `default`. */
  get parts(): ReadonlyMap<string, Part> {
    return this.served.prompt.parts;
  }

  /**
   * The messages with the variables filled in; a text prompt is one user message.
   *
   * A missing value becomes empty and is reported once. A template that fails with these values is counted as the
   * revision's error, and the stable prompt is rendered instead.
   */
  render(values: Values = {}, options?: { part?: string }): Message[] {
    return this.#render((one) => one.render(values), values, options?.part);
  }

  /** The same as one text. */
  renderText(values: Values = {}, options?: { part?: string }): string {
    return this.#render((one) => one.renderText(values), values, options?.part);
  }

  // Who decided ------------------------------------------------------------------------------------------------

  /** The revision's short hash; `default` when the prompt comes from the code. */
  get revision(): string {
    return this.served.series.key.revision;
  }

  /** candidate, stable, or an arm's name. */
  get arm(): string {
    return this.served.series.key.arm;
  }

  /** The exposure in which the unit was assigned: the label `step`. */
  get exposure(): number {
    return this.served.exposure;
  }

  /** Whether a pin decided. */
  get pinned(): boolean {
    return this.from !== undefined;
  }

  /** The unit's cluster, 0 … 15. */
  get cluster(): number {
    if (this.#cluster < 0) this.#cluster = clusterOf(this.unit);
    return this.#cluster;
  }

  /** Keep it with the conversation and give it to the next `assign`; ask for it after the request. */
  get pin(): string {
    const seen = this.unitGiven ? [...new Set([...this.served.series.affected(this.unit), ...this.#before])] : [];
    return formatPin({ revision: this.revision, exposure: this.exposure, arm: this.arm, events: seen.sort() });
  }

  /** Keep it with the answer, for scores that come later: `rollout.score(token, …)`. */
  get token(): string {
    const { revision, exposure, arm, cluster } = this;
    return formatToken({ revision, exposure, arm, cluster, rollout: this.served.series.key.rollout });
  }

  // What came of it --------------------------------------------------------------------------------------------

  /**
   * Run one logical request: retries and the calls of a tool loop belong inside `fn`.
   *
   * An error that `fn` throws counts as the prompt's and is thrown on, unless the caller went away: an `AbortError`, or
   * what `aborts` says.
   */
  async request<T>(fn: (request: Request) => T | Promise<T>, options?: RequestOptions): Promise<T> {
    const request = new Request(this, options);
    try {
      const answer = await fn(request);
      request.end();
      return answer;
    } catch (error) {
      request.fail(error);
      throw error;
    }
  }

  /**
   * The same for a streamed answer: `fn` makes the chunks. The first is the first token; a consumer that leaves before the
   * last counts as aborted, not as an error.
   */
  async *stream<T>(
    fn: (request: Request) => AsyncIterable<T> | Iterable<T>,
    options?: RequestOptions,
  ): AsyncGenerator<T, void, undefined> {
    const request = new Request(this, options);
    try {
      yield* request.stream(fn(request));
      request.end();
    } catch (error) {
      request.fail(error);
      throw error;
    } finally {
      request.end("aborted");
    }
  }

  /** A request that the caller ends by `end()` or `fail(error)`, where neither of the above fits. */
  open(options?: RequestOptions): Request {
    return new Request(this, options);
  }

  /** A judgement of this answer, from 0 (worst) to 1 (best). */
  score(name: string, value: number): void {
    const counted = this.rollout.countScore(this.served.series.key, this.cluster, name, value);
    if (counted && this.pair) this.pair.score(name, value, this.inShadow);
    else if (counted) this.#scored.push([name, value]);
  }

  /**
   * Run the candidate beside this answer, after it was given; true if it is to run.
   *
   * Only while the payload asks for a shadow, for its share of requests, within its budget; otherwise dropped. Scores of
   * both (`a.score`, before or after this, and `candidate.score`) are compared in pairs.
   */
  shadow(fn: Run): boolean {
    return this.rollout.startShadow(this, fn);
  }

  /** @internal Make it one side of a shadow run; scores that it had before count in the pair too. */
  join(pair: Pair, inShadow: boolean): void {
    this.pair = pair;
    this.inShadow = inShadow;
    for (const [name, value] of this.#scored) pair.score(name, value, inShadow);
  }

  /** @internal Count a request and its events for its unit and cluster (statistics-correlated). */
  countUnit(events: readonly string[]): void {
    const { series, clusters } = this.served;
    const { cluster } = this;
    const seen = series.affected(this.unit);
    clusters?.requests[cluster]?.inc();
    for (const event of events) clusters?.events.get(event)?.[cluster]?.inc();
    for (const { name, cell } of series.unitExposure) {
      if (seen.has(name) || this.#before.includes(name)) continue;
      cell.inc();
      clusters?.unitExposure.get(name)?.[cluster]?.inc();
      if (events.includes(name)) {
        series.unitEvents.get(name)?.inc();
        clusters?.unitEvents.get(name)?.[cluster]?.inc();
      }
    }
    if (events.length > 0 && this.unitGiven) series.affect(this.unit, events);
  }

  get #before(): readonly string[] {
    return this.from?.events ?? [];
  }

  #render<R>(how: (part: Part) => R, values: Values, part = ""): R {
    const { prompt } = this.served;
    try {
      const chosen = prompt.part(part);
      const missing = [...chosen.variables].filter((name) => !Object.hasOwn(values, name)).join(", ");
      if (missing) {
        this.rollout.problem("missing_variable", `${prompt.revision} needs ${missing}, not given to render()`);
      }
      return how(chosen);
    } catch (error) {
      this.renderFailed = true;
      this.rollout.problem("render", `${prompt.revision} cannot be rendered: ${reasonOf(error)}`);
      return this.rollout.renderInstead(how, prompt, part);
    }
  }
}
