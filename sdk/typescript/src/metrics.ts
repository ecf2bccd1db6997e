/** The metrics, one set for each prom-client registry. Names and labels are the operator's contract. */

import { register, type Registry } from "prom-client";

import { CounterFamily, GaugeFamily, HistogramFamily, SummaryFamily } from "./families.js";

/** 10 ms … 328 s in steps of 2^(1/4) = 1.19: fine enough to see a shift of 10 %. */
export const DURATION_BUCKETS: readonly number[] = Array.from({ length: 61 }, (_, k) =>
  Number((0.01 * 2 ** (k / 4)).toPrecision(4)),
);

const ARM = ["rollout", "revision", "arm", "step"] as const;
const CLUSTER = ["rollout", "arm", "cluster"] as const;
const SHADOW = ["rollout", "revision", "score"] as const;
const LOADED = ["rollout", "sequence", "hash"] as const;

/** All metrics of this SDK in one registry; every PromptRollout of the process shares them. */
export class Metrics {
  readonly requests = this.#counter("requests_total", "Logical requests by outcome.", [...ARM, "outcome"]);
  readonly duration = this.#histogram("request_duration_seconds", "Duration of requests that were not aborted.");
  readonly firstToken = this.#histogram("time_to_first_token_seconds", "Time to the first token of an answer.");
  readonly tokens = this.#counter("tokens_total", "Tokens by direction.", [...ARM, "direction"]);
  readonly cost = this.#counter("cost_usd_total", "Cost in US dollars.", ARM);
  readonly events = this.#counter("events_total", "Requests with an event that the application named.", [...ARM, "metric"]);

  readonly score = this.#summary("score", "Scores in [0, 1], 1 is best.", [...ARM, "score"]);
  readonly scoreSumsq = this.#gauge("score_sumsq", "Sum of squared scores.", [...ARM, "score"]);
  readonly scoreNodes = this.#counter(
    "score_nodes_total",
    "Badness (1 - score), split linearly onto nodes 0/20 … 20/20.",
    [...ARM, "score", "node"],
  );
  readonly difference = this.#summary("shadow_difference", "Candidate minus stable score of one request.", SHADOW);
  readonly differenceSumsq = this.#gauge("shadow_difference_sumsq", "Sum of squared differences.", SHADOW);
  readonly gain = this.#counter("shadow_gain_total", "Sum of the differences where the candidate scored more.", SHADOW);
  readonly loss = this.#counter("shadow_loss_total", "Sum of the differences where it scored less.", SHADOW);
  readonly shadows = this.#counter("shadow_runs_total", "Shadow runs by what became of them.", ["rollout", "result"]);

  readonly clusterRequests = this.#counter("cluster_requests_total", "Requests by cluster of units.", CLUSTER);
  readonly clusterEvents = this.#counter("cluster_events_total", "Events by cluster.", [...CLUSTER, "metric"]);
  readonly clusterScore = this.#summary("cluster_score", "Scores by cluster.", [...CLUSTER, "score"]);
  readonly unitExposure = this.#counter("unit_exposure_total", "Requests of units until their first event.", [
    ...ARM,
    "metric",
  ]);
  readonly unitEvents = this.#counter("unit_events_total", "Units with their first event.", [...ARM, "metric"]);
  readonly clusterUnitExposure = this.#counter("cluster_unit_exposure_total", "The same by cluster.", [
    ...CLUSTER,
    "metric",
  ]);
  readonly clusterUnitEvents = this.#counter("cluster_unit_events_total", "The same by cluster.", [
    ...CLUSTER,
    "metric",
  ]);

  readonly loaded = this.#gauge("loaded", "1 for the payload that is served (processes of this pod).", LOADED);
  readonly loadedAt = this.#gauge("loaded_timestamp_seconds", "When it was loaded.", LOADED, "max");
  readonly payloadErrors = this.#counter("payload_errors_total", "Payloads refused, by reason.", ["rollout", "reason"]);
  readonly problems = this.#counter("sdk_problems_total", "Calls of the application that could not be counted.", [
    "rollout",
    "reason",
  ]);

  private constructor(private readonly registry: Registry) {}

  static readonly #made = new WeakMap<Registry, Metrics>();

  /** The metrics in `registry` (prom-client's default one when none is given), made at first use. */
  static of(registry: Registry = register): Metrics {
    let found = Metrics.#made.get(registry);
    if (!found) Metrics.#made.set(registry, (found = new Metrics(registry)));
    return found;
  }

  #counter(name: string, help: string, labels: readonly string[]): CounterFamily {
    return new CounterFamily(this.registry, `promptrollout_${name}`, help, labels);
  }

  #gauge(name: string, help: string, labels: readonly string[], over: "sum" | "max" = "sum"): GaugeFamily {
    return new GaugeFamily(this.registry, `promptrollout_${name}`, help, labels, over);
  }

  #summary(name: string, help: string, labels: readonly string[]): SummaryFamily {
    return new SummaryFamily(this.registry, `promptrollout_${name}`, help, labels);
  }

  #histogram(name: string, help: string): HistogramFamily {
    return new HistogramFamily(this.registry, `promptrollout_${name}`, help, ARM, DURATION_BUCKETS);
  }
}
