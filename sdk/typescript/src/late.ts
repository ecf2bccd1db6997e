/** Scores that come later and elsewhere: in a process that has no payload, only tokens. */

import { Pushgateway, type PrometheusContentType, Registry } from "prom-client";

import { defaultLogger, type Logger, Once } from "./errors.js";
import { Ledger } from "./ledger.js";
import { Metrics } from "./metrics.js";
import { parseToken } from "./pins.js";
import { countScore } from "./scoring.js";

const MAX_ROLLOUTS = 256;

/**
 * Counts scores by token, for any rollout, and pushes them where the process is too short-lived to be scraped.
 *
 * The counters grow over the life of the process: push again and again from one process (or keep one grouping key for
 * each run), since a push replaces what the same grouping key pushed before.
 */
export class Judge {
  readonly registry: Registry<PrometheusContentType>;
  readonly #once: Once;
  readonly #ledgers = new Map<string, Ledger>();

  constructor({ registry = new Registry(), logger = defaultLogger }: { registry?: Registry; logger?: Logger } = {}) {
    this.registry = registry as Registry<PrometheusContentType>;
    this.#once = new Once(logger);
  }

  /** A judgement of the answer that `token` names; false (and one log line) when it could not be counted. */
  score(token: string, name: string, value: number): boolean {
    const parsed = parseToken(token);
    const problem = parsed ? this.#count(parsed, name, value) : "a score came with something that is no token";
    if (problem) this.#once.warn(parsed ? `${parsed.rollout}: ${problem}` : problem);
    return !problem;
  }

  /** Push all scores to a Pushgateway. Rejects when it cannot be reached: then push again later. */
  async push(url: string, options: { job: string; grouping?: Record<string, string>; timeoutMs?: number }): Promise<void> {
    const { job, grouping = {}, timeoutMs = 10_000 } = options;
    const gateway = new Pushgateway(url, { timeout: timeoutMs }, this.registry);
    const { resp } = await gateway.push({ jobName: job, groupings: grouping });
    const status = (resp as { statusCode?: number } | undefined)?.statusCode ?? 0;
    if (status >= 300) throw new Error(`the Pushgateway answered ${status}`);
  }

  #count(token: NonNullable<ReturnType<typeof parseToken>>, name: string, value: number): string {
    let ledger = this.#ledgers.get(token.rollout);
    if (!ledger) {
      if (this.#ledgers.size >= MAX_ROLLOUTS) return `scores of more than ${MAX_ROLLOUTS} rollouts: not counted`;
      ledger = new Ledger(Metrics.of(this.registry));
      this.#ledgers.set(token.rollout, ledger);
    }
    const { rollout, revision, arm, exposure, cluster } = token;
    return countScore(ledger, { rollout, revision, arm, step: String(exposure) }, cluster, name, value);
  }
}
