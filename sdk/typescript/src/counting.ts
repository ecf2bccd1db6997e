/** The bound series of one arm in one exposure, and of one arm's clusters: at zero from load on, cheap to count in. */

import type { Buckets, Cell, Sums } from "./families.js";
import { CLUSTERS, NODES, splitScore } from "./hashing.js";
import type { Metrics } from "./metrics.js";

export const OUTCOMES = ["ok", "error", "aborted"] as const;
export type Outcome = (typeof OUTCOMES)[number];
export const ERRORS = "errors";

/** What identifies an arm's series. */
export interface Key {
  readonly rollout: string;
  readonly revision: string;
  readonly arm: string;
  readonly step: string;
}

export function labelsOf({ rollout, revision, arm, step }: Key): [string, string, string, string] {
  return [rollout, revision, arm, step];
}

/** A key as one string, to find things by. */
export function nameOf(key: Key): string {
  return labelsOf(key).join("\xff");
}

/** One score of one arm. */
export class ScoreSeries {
  readonly #labels: readonly string[];
  readonly #score: Sums;
  readonly #sumsq: Cell;
  readonly #nodes: readonly Cell[];

  constructor(
    private readonly metrics: Metrics,
    key: Key,
    name: string,
  ) {
    this.#labels = [...labelsOf(key), name];
    this.#score = metrics.score.labels(...this.#labels);
    this.#sumsq = metrics.scoreSumsq.labels(...this.#labels);
    this.#nodes = range(NODES).map((node) => metrics.scoreNodes.labels(...this.#labels, node));
  }

  /** Count a score in [0, 1]. */
  add(value: number): void {
    const [node, here, beyond] = splitScore(value);
    this.#score.observe(value);
    this.#sumsq.inc(value * value);
    this.#nodes[node]?.inc(here);
    this.#nodes[node + 1]?.inc(beyond);
  }

  /** Remove the series from the registry. */
  drop(): void {
    this.metrics.score.remove(...this.#labels);
    this.metrics.scoreSumsq.remove(...this.#labels);
    for (const node of range(NODES)) this.metrics.scoreNodes.remove(...this.#labels, node);
  }
}

// Units that have had an event are remembered, in an exposure and a process: at most so many.
const MOST_AFFECTED = 10_000;
const NONE: ReadonlySet<string> = new Set();

/** Everything that is counted by rollout, revision, arm and step. */
export class ArmSeries {
  idle = false;
  dropped = false;
  readonly outcomes: Readonly<Record<Outcome, Cell>>;
  readonly duration: Buckets;
  readonly firstToken: Buckets;
  readonly tokensIn: Cell;
  readonly tokensOut: Cell;
  readonly cost: Cell;
  readonly events: ReadonlyMap<string, Cell>;
  readonly unitExposure: readonly { name: string; cell: Cell }[];
  readonly unitEvents: ReadonlyMap<string, Cell>;
  readonly #scores: Map<string, ScoreSeries>;
  readonly #affected = new Map<string, ReadonlySet<string>>();

  constructor(
    private readonly metrics: Metrics,
    readonly key: Key,
    events: readonly string[],
    scores: Iterable<string>,
  ) {
    const where = labelsOf(key);
    const outcome = (name: Outcome): Cell => metrics.requests.labels(...where, name);
    this.outcomes = { ok: outcome("ok"), error: outcome("error"), aborted: outcome("aborted") };
    this.duration = metrics.duration.labels(...where);
    this.firstToken = metrics.firstToken.labels(...where);
    this.tokensIn = metrics.tokens.labels(...where, "input");
    this.tokensOut = metrics.tokens.labels(...where, "output");
    this.cost = metrics.cost.labels(...where);
    const named = events.filter((name) => name !== ERRORS);
    this.events = new Map(named.map((name) => [name, metrics.events.labels(...where, name)]));
    this.unitExposure = events.map((name) => ({ name, cell: metrics.unitExposure.labels(...where, name) }));
    this.unitEvents = new Map(events.map((name) => [name, metrics.unitEvents.labels(...where, name)]));
    this.#scores = new Map([...scores].map((name) => [name, new ScoreSeries(metrics, key, name)]));
  }

  /** The series of a score, made at its first use. */
  score(name: string): ScoreSeries {
    let series = this.#scores.get(name);
    if (!series) this.#scores.set(name, (series = new ScoreSeries(this.metrics, this.key, name)));
    return series;
  }

  /** Events that the unit has had in this exposure, as far as this process knows. */
  affected(unit: string): ReadonlySet<string> {
    return this.#affected.get(unit) ?? NONE;
  }

  /** Remember a unit's events; the oldest units are forgotten first. */
  affect(unit: string, events: Iterable<string>): void {
    this.#affected.set(unit, new Set([...this.affected(unit), ...events]));
    if (this.#affected.size > MOST_AFFECTED) {
      for (const oldest of this.#affected.keys()) {
        this.#affected.delete(oldest);
        break;
      }
    }
  }

  /** Remove the series from the registry. */
  drop(): void {
    this.dropped = true;
    const { metrics } = this;
    const where = labelsOf(this.key);
    for (const outcome of OUTCOMES) metrics.requests.remove(...where, outcome);
    for (const family of [metrics.duration, metrics.firstToken, metrics.cost]) family.remove(...where);
    for (const direction of ["input", "output"]) metrics.tokens.remove(...where, direction);
    for (const event of this.unitEvents.keys()) {
      for (const family of [metrics.events, metrics.unitExposure, metrics.unitEvents]) family.remove(...where, event);
    }
    for (const series of this.#scores.values()) series.drop();
  }
}

/** Everything that is counted by rollout, arm and cluster: for the variance that conversations add. */
export class ClusterSeries {
  readonly requests: readonly Cell[];
  readonly events: ReadonlyMap<string, readonly Cell[]>;
  readonly unitExposure: ReadonlyMap<string, readonly Cell[]>;
  readonly unitEvents: ReadonlyMap<string, readonly Cell[]>;
  readonly #scores = new Map<string, readonly Sums[]>();
  readonly #where: readonly (readonly [string, string, string])[];

  constructor(
    private readonly metrics: Metrics,
    rollout: string,
    arm: string,
    events: readonly string[],
    scores: Iterable<string>,
  ) {
    this.#where = range(CLUSTERS).map((cluster) => [rollout, arm, cluster] as const);
    const byEvent = (family: { labels(...values: string[]): Cell }): ReadonlyMap<string, Cell[]> =>
      new Map(events.map((event) => [event, this.#where.map((where) => family.labels(...where, event))]));
    this.requests = this.#where.map((where) => metrics.clusterRequests.labels(...where));
    this.events = byEvent(metrics.clusterEvents);
    this.unitExposure = byEvent(metrics.clusterUnitExposure);
    this.unitEvents = byEvent(metrics.clusterUnitEvents);
    for (const name of scores) this.#score(name);
  }

  /** Count a score. */
  score(name: string, cluster: number, value: number): void {
    this.#score(name)[cluster]?.observe(value);
  }

  /** Remove the series from the registry. */
  drop(): void {
    const { metrics } = this;
    for (const where of this.#where) {
      metrics.clusterRequests.remove(...where);
      for (const event of this.events.keys()) {
        for (const family of [metrics.clusterEvents, metrics.clusterUnitExposure, metrics.clusterUnitEvents]) {
          family.remove(...where, event);
        }
      }
      for (const name of this.#scores.keys()) metrics.clusterScore.remove(...where, name);
    }
  }

  #score(name: string): readonly Sums[] {
    let series = this.#scores.get(name);
    if (!series) {
      series = this.#where.map((where) => this.metrics.clusterScore.labels(...where, name));
      this.#scores.set(name, series);
    }
    return series;
  }
}

function range(length: number): string[] {
  return Array.from({ length }, (_, i) => String(i));
}
