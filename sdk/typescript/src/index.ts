/**
 * Serve prompts that are rolled out step by step.
 *
 *     const rollout = await PromptRollout.fromDirectory("/etc/prompts/support-answer", { default: "You are …" });
 *     const a = rollout.assign({ unit: conversationId, pin: storedPin });
 *     const answer = await a.request(async (r) => callModel(a.render({ question }), { model: a.model, ...a.parameters }));
 *     a.score("helpfulness", 0.8);
 */

export { Assignment } from "./assignment.js";
export type { Outcome } from "./counting.js";
export { type Logger, PayloadError } from "./errors.js";
export { bucketOf, clusterOf } from "./hashing.js";
export type { Api } from "./kubernetes.js";
export { Judge } from "./late.js";
export type { Contract } from "./payload.js";
export { type Default, type Message, Part } from "./prompt.js";
export { type Aborts, Request, type RequestOptions } from "./request.js";
export { type Options, PromptRollout } from "./rollout.js";
export type { Run } from "./shadow.js";
