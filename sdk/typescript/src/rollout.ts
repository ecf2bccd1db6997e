/** A rollout as an application sees it. */

import { randomUUID } from "node:crypto";

import type { Registry } from "prom-client";

import { Assignment } from "./assignment.js";
import type { Key } from "./counting.js";
import { defaultLogger, type Logger, Once, PayloadError, reasonOf, said } from "./errors.js";
import { type Api, ApiSource, inCluster } from "./kubernetes.js";
import { Ledger } from "./ledger.js";
import { Loaded } from "./loaded.js";
import { Metrics } from "./metrics.js";
import { type Contract, load } from "./payload.js";
import { parseToken } from "./pins.js";
import { type Default, type Part, type Prompt, promptFromCode } from "./prompt.js";
import { countScore } from "./scoring.js";
import { type Served, Serving } from "./serving.js";
import { announce, Pair, type Run, Shadows } from "./shadow.js";
import { DirectorySource, type Source } from "./source.js";

const POLL_MS = 100;
const RETRY_MS = 1000; // after a failed load whose source looks unchanged: a permission may be given back
const SWEEP_MS = 60_000;
const SWAPS = 5; // how often a version may be swapped for the next while it is read, before that is left to the next look

export interface Options {
  /** The prompt to answer with while there is no payload: a text, messages, or fields as in the API's `inline`. */
  readonly default?: Default;
  /** Where the metrics go; prom-client's default registry by default. */
  readonly registry?: Registry;
  /** Names for `request.event(name)`; told in advance so that their counters start at zero. */
  readonly events?: readonly string[];
  /** Names for `a.score(name, value)`, for the same reason; others are made at first use. */
  readonly scores?: readonly string[];
  /**
   * The parts that the application asks for and the variables that it fills in. A payload that does not fit is refused and
   * so is not acknowledged: the rollout waits instead of failing.
   */
  readonly contract?: Contract;
  /** Look for changes in the background (default); without it call `refresh()`. */
  readonly watch?: boolean;
  readonly logger?: Logger;
}

/**
 * Which prompt to use for which request, and the metrics by which the operator compares prompts.
 *
 * Nothing throws in the request path: a broken payload keeps the last good one, a wrong argument is reported in
 * promptrollout_sdk_problems_total and once in the log.
 */
export class PromptRollout {
  name: string;
  /** @internal */ readonly shadows: Shadows;
  readonly #source: Source;
  readonly #contract: Contract;
  readonly #metrics: Metrics;
  readonly #ledger: Ledger;
  readonly #loaded: Loaded;
  readonly #logger: Logger;
  readonly #once: Once;
  #serving: Serving | undefined;
  #default: Served | undefined;
  #failure: PayloadError | undefined;
  #tried: string | undefined;
  #retryAt = 0;
  #sweepAt = 0;
  #refreshing: Promise<unknown> = Promise.resolve();
  #polling = false;
  #timer: NodeJS.Timeout | undefined;

  private constructor(source: Source, options: Options) {
    this.#source = source;
    this.name = source.name;
    this.#contract = options.contract ?? {};
    this.#metrics = Metrics.of(options.registry);
    this.#ledger = new Ledger(this.#metrics, options.events, options.scores);
    this.#loaded = new Loaded(this.#metrics);
    this.#logger = options.logger ?? defaultLogger;
    this.#once = new Once(this.#logger);
    this.shadows = new Shadows(this.#metrics, (reason, message) => this.problem(reason, message));
    if (options.default !== undefined) this.#default = this.#serveDefault(promptFromCode(options.default));
  }

  /**
   * A rollout whose ConfigMap is mounted at `path` (not by subPath: kubelet never refreshes those mounts).
   * Without `default` a missing payload rejects with PayloadError here, at start-up.
   */
  static fromDirectory(path: string, options: Options = {}): Promise<PromptRollout> {
    return PromptRollout.start(new DirectorySource(path), options);
  }

  /**
   * A rollout whose ConfigMap is watched through the API server, with the pod's service account. It needs `get` and `watch`
   * on that ConfigMap, and neither a mount nor a nudge. `api` says where the server is if not where the pod's
   * environment says.
   */
  static async watch(namespace: string, configMap: string, options: Options & { api?: Api } = {}): Promise<PromptRollout> {
    return PromptRollout.start(new ApiSource(namespace, configMap, options.api ?? inCluster()), options);
  }

  /** @internal From any source. */
  static async start(source: Source, options: Options): Promise<PromptRollout> {
    const rollout = new PromptRollout(source, options);
    await rollout.refresh();
    if (!rollout.#serving && !rollout.#default) {
      source.close();
      throw rollout.#failure ?? new PayloadError("missing", "no payload and no default");
    }
    if (options.watch ?? true) {
      source.listen(() => void rollout.poll());
      rollout.#timer = setInterval(() => void rollout.poll(), POLL_MS).unref();
    }
    return rollout;
  }

  // The request path ---------------------------------------------------------------------------------------------

  /**
   * The prompt for one request.
   *
   * `unit` is what keeps its prompt over requests (a conversation's or user's id); without it one is drawn at random. `pin` is
   * `Assignment.pin` of an earlier request of the same conversation: it keeps its revision over a ramp.
   */
  assign(whom?: { unit?: string | undefined; pin?: string | undefined }): Assignment {
    const unit = whom?.unit;
    const pin = whom?.pin;
    const given = unit !== undefined && unit !== null;
    const id = given ? (typeof unit === "string" ? unit : said(unit)).toWellFormed() : randomUUID();
    const serving = this.#serving;
    if (!serving) return new Assignment(this, this.#default as Served, id, given);
    const found = pin ? serving.follow(said(pin), Date.now()) : undefined;
    if (found === "no pin") this.problem("pin", "a pin that is none was ignored");
    else if (found) return new Assignment(this, found.served, id, given, found.pin);
    return new Assignment(this, serving.assign(id), id, given);
  }

  /** A judgement that comes later, of the answer that `token` names: from 0 (worst) to 1 (best). */
  score(token: string, name: string, value: number): void {
    const parsed = parseToken(token);
    if (!parsed) {
      this.problem("token", "a score came with something that is no token");
    } else if (this.#serving && parsed.rollout !== this.name && parsed.rollout !== this.#source.name) {
      this.problem("token", `a score's token is of ${parsed.rollout}, this is ${this.name}`);
    } else {
      const { rollout, revision, arm, exposure } = parsed;
      this.countScore({ rollout, revision, arm, step: String(exposure) }, parsed.cluster, name, value);
    }
  }

  // Loading ------------------------------------------------------------------------------------------------------

  /** The sequence of the payload that is served; undefined while the default is. */
  get sequence(): number | undefined {
    return this.#serving?.payload.sequence;
  }

  /** Look for a change now and load it; true if another payload is served afterwards. Never rejects. */
  refresh(): Promise<boolean> {
    const next = this.#refreshing.then(async () => {
      let failure: unknown;
      for (let swaps = 0; swaps < SWAPS; swaps += 1) {
        this.#tried = await this.#source.version();
        try {
          return await this.#load();
        } catch (error) {
          failure = error;
        }
        if ((await this.#source.version()) === this.#tried) break; // nobody swapped it meanwhile: it is broken
      }
      this.#refuse(failure instanceof PayloadError ? failure : new PayloadError("invalid", reasonOf(failure)));
      return false;
    });
    this.#refreshing = next;
    return next;
  }

  /** Look for changes no more; what is loaded goes on being served. */
  close(): void {
    clearInterval(this.#timer);
    this.#source.close();
  }

  /** One look of the background timer, at `now` (ms of a clock that only grows). Never rejects. */
  async poll(now: number = performance.now()): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    try {
      const retry = this.#failure !== undefined && now >= this.#retryAt;
      if (retry || (await this.#source.version()) !== this.#tried) {
        await this.refresh();
        this.#retryAt = now + RETRY_MS;
      }
      if (now >= this.#sweepAt) {
        this.#sweepAt = now + SWEEP_MS;
        this.#ledger.sweep(now);
      }
    } catch (error) {
      this.problem("poll", `looking for a new payload failed: ${reasonOf(error)}`);
    } finally {
      this.#polling = false;
    }
  }

  async #load(): Promise<boolean> {
    const payload = await load(await this.#source.open(), this.#contract, this.#serving?.payload);
    const recovered = this.#failure !== undefined;
    this.#failure = undefined;
    if (this.#serving?.payload.hash === payload.hash) return false;
    this.name = payload.rollout;
    const serving = new Serving(payload, this.#ledger);
    this.#serving = serving; // from here on requests get it
    this.#ledger.serve(serving.keys);
    if (payload.shadow) announce(this.#metrics, payload.rollout, payload.shadow.revision, this.#ledger.scores);
    this.#loaded.set(payload.rollout, payload.sequence, payload.hash);
    this.#logger.info(`${this.name}: serving sequence ${payload.sequence}${recovered ? " again" : ""}`);
    return true;
  }

  #refuse(error: PayloadError): void {
    const last = this.#failure;
    this.#failure = error;
    if (last?.reason === error.reason && last.message === error.message) return;
    this.#metrics.payloadErrors.labels(this.name, error.reason).inc();
    if (!this.#serving && !this.#default) return; // thrown at start-up
    const serving = this.#serving ? `sequence ${this.sequence}` : "the default";
    this.#logger.warn(`${this.name}: payload refused (${error.reason}): ${error.message}; serving ${serving}`);
  }

  #serveDefault(prompt: Prompt): Served {
    const key = { rollout: this.name, revision: "default", arm: "default", step: "0" };
    const series = this.#ledger.arm(key);
    this.#ledger.serve([key]); // until there is a payload
    return { exposure: 0, prompt, series, clusters: undefined };
  }

  // For assignments ----------------------------------------------------------------------------------------------

  /** @internal Count a score of an arm; false, and said, when it is none. */
  countScore(key: Key, cluster: number, name: string, value: number): boolean {
    const problem = countScore(this.#ledger, key, cluster, name, value);
    if (problem) this.problem("score", problem);
    return !problem;
  }

  /** @internal Run the shadowed revision beside an assignment, if the payload asks for it. */
  startShadow(beside: Assignment, fn: Run): boolean {
    const serving = this.#serving;
    const rules = serving?.payload.shadow;
    if (!serving || !rules || beside.pair) return false;
    const candidate = new Assignment(this, serving.shadowed(rules), beside.unit, beside.unitGiven);
    const pair = new Pair(this.#metrics, this.name, rules.revision);
    beside.join(pair, false);
    candidate.join(pair, true);
    return this.shadows.start(rules, this.name, fn, candidate);
  }

  /** @internal Something the application should know; said once, counted always. */
  problem(reason: string, message: string): void {
    this.#metrics.problems.labels(this.name, reason).inc();
    this.#once.warn(`${this.name}: ${message}`);
  }

  /** @internal What to answer with when a revision cannot be rendered: stable's prompt, the default, the bare text. */
  renderInstead<R>(how: (part: Part) => R, failed: Prompt, part: string): R {
    for (const prompt of [this.#serving?.last.prompt, this.#default?.prompt]) {
      try {
        if (prompt) return how(prompt.part(part));
      } catch {
        continue;
      }
    }
    return how(failed.main.unrendered());
  }
}
