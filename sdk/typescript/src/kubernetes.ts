/**
 * A payload straight from the API server: one watch on one ConfigMap, with nothing but Node's own modules.
 *
 * The pod's service account needs `get` and `watch` on that ConfigMap by name (a watch of one name is allowed by
 * `resourceNames`, since the field selector names it). No nudge and no kubelet is involved.
 */

import { readFile } from "node:fs/promises";
import { type ClientRequest, type IncomingMessage, request as plain } from "node:http";
import { request as secure } from "node:https";
import { createInterface } from "node:readline";

import { PayloadError, reasonOf } from "./errors.js";
import type { Read } from "./payload.js";
import type { Source } from "./source.js";

const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const TIMEOUT_MS = 10_000;
const WATCH_SECONDS = 240; // then the server ends the watch; a connection that died unnoticed is not trusted longer
const BACKOFF_MS = [500, 30_000] as const;
const BACKOFF_AT_FIRST_MS = 2000; // while nothing was ever read, and the default answers
const MAX_BYTES = 4 * 1024 * 1024; // a ConfigMap of 1 MiB, as escaped JSON

/** Where the API server is and how to speak to it. The token is read anew each time: kubelet rotates it. */
export interface Api {
  readonly url: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

/** From the pod's service account. PayloadError outside of a pod. */
export function inCluster(environment: NodeJS.ProcessEnv = process.env): Api {
  const host = environment["KUBERNETES_SERVICE_HOST"];
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "443";
  if (!host) {
    throw new PayloadError("missing", "KUBERNETES_SERVICE_HOST is not set: this is no pod, use fromDirectory");
  }
  const named = host.includes(":") ? `[${host}]` : host;
  return { url: `https://${named}:${port}`, tokenFile: `${ACCOUNT}/token`, caFile: `${ACCOUNT}/ca.crt` };
}

interface ConfigMap {
  metadata: { resourceVersion: string };
  data?: Record<string, string>;
}

/** The newest data of one ConfigMap, kept by a watch that begins with the first look. */
export class ApiSource implements Source {
  readonly #path: string;
  readonly #where: string;
  #data: Readonly<Record<string, string>> | PayloadError;
  #version = 0;
  #read = false;
  #started = false;
  #closed = false;
  #changed: () => void = () => undefined;
  #open: ClientRequest | undefined;
  #wake: () => void = () => undefined;

  constructor(
    namespace: string,
    private readonly configMap: string,
    private readonly api: Api,
  ) {
    this.#path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps`;
    this.#where = `ConfigMap ${namespace}/${configMap}`;
    this.#data = new PayloadError("missing", `${this.#where} was not read yet`);
  }

  get name(): string {
    return this.configMap;
  }

  async version(): Promise<string> {
    if (!this.#started) {
      this.#started = true;
      const from = await this.#list();
      void this.#run(from);
    }
    return String(this.#version);
  }

  async open(): Promise<Read> {
    const data = this.#data;
    if (data instanceof PayloadError) throw data;
    return async (file) => {
      const text = Object.hasOwn(data, file) ? data[file] : undefined;
      if (text === undefined) throw new PayloadError("missing", `${this.#where} has no ${file}`);
      return Buffer.from(text);
    };
  }

  listen(changed: () => void): void {
    this.#changed = changed;
  }

  close(): void {
    this.#closed = true;
    this.#open?.destroy();
    this.#wake();
  }

  /** Watch, read anew where the watch cannot go on, back off when the server is away. */
  async #run(from: string): Promise<void> {
    let resourceVersion = from;
    let delay: number = BACKOFF_MS[0];
    while (!this.#closed) {
      if (resourceVersion) {
        resourceVersion = await this.#watch(resourceVersion);
        delay = BACKOFF_MS[0];
        continue;
      }
      await this.#pause(delay * (0.5 + Math.random() / 2));
      delay = Math.min(delay * 2, this.#read ? BACKOFF_MS[1] : BACKOFF_AT_FIRST_MS);
      if (!this.#closed) resourceVersion = await this.#list();
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Read the ConfigMap; the version to watch from, empty when the server could not be asked. */
  async #list(): Promise<string> {
    try {
      const response = await this.#get(`${this.#path}/${encodeURIComponent(this.configMap)}`, TIMEOUT_MS);
      const text = await whole(response);
      if (response.statusCode !== 200) {
        const reason = response.statusCode === 404 ? "missing" : "unreadable";
        this.#set(new PayloadError(reason, `${this.#where}: HTTP ${response.statusCode} ${messageIn(text)}`));
        return "";
      }
      return this.#take(JSON.parse(text) as ConfigMap);
    } catch (error) {
      this.#set(new PayloadError("unreadable", `${this.#where}: ${reasonOf(error)}`));
      return "";
    }
  }

  /** Follow changes; the version to go on from, empty to read anew. */
  async #watch(from: string): Promise<string> {
    let resourceVersion = from;
    const query = new URLSearchParams({
      watch: "true",
      fieldSelector: `metadata.name=${this.configMap}`,
      resourceVersion,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(WATCH_SECONDS),
    });
    try {
      const response = await this.#get(`${this.#path}?${query}`, WATCH_SECONDS * 1000 + TIMEOUT_MS);
      if (response.statusCode !== 200) {
        response.destroy();
        return ""; // 410 Gone: too old to go on from; anything else is told by the read that follows
      }
      for await (const line of createInterface({ input: response, crlfDelay: Infinity })) {
        if (!line.trim()) continue;
        const { type, object } = JSON.parse(line) as { type: string; object: ConfigMap };
        if (type === "ERROR") {
          response.destroy();
          return "";
        }
        if (type === "ADDED" || type === "MODIFIED") this.#take(object);
        if (type === "DELETED") this.#set(new PayloadError("missing", `${this.#where} was deleted`));
        resourceVersion = object.metadata.resourceVersion;
      }
      return resourceVersion;
    } catch {
      return ""; // broken off: the read that follows says why, if it lasts
    }
  }

  #take(found: ConfigMap): string {
    this.#set(found.data ?? {});
    return found.metadata.resourceVersion;
  }

  #set(data: Readonly<Record<string, string>> | PayloadError): void {
    this.#data = data;
    this.#read ||= !(data instanceof PayloadError);
    this.#version += 1;
    this.#changed();
  }

  async #get(path: string, timeout: number): Promise<IncomingMessage> {
    const { url, tokenFile, caFile } = this.api;
    const headers: Record<string, string> = { accept: "application/json", "user-agent": "promptrollout-sdk" };
    if (tokenFile) headers["authorization"] = `Bearer ${(await readFile(tokenFile, "utf8")).trim()}`;
    const ca = caFile ? { ca: await readFile(caFile) } : {};
    const send = url.startsWith("https:") ? secure : plain;
    return new Promise((resolve, reject) => {
      const asked = send(new URL(path, url), { headers, timeout, agent: false, ...ca });
      this.#open = asked;
      asked.on("socket", (socket) => socket.unref()); // a watch keeps no process alive
      asked.on("timeout", () => asked.destroy(new Error(`no answer within ${timeout} ms`)));
      asked.on("error", reject);
      asked.on("response", resolve);
      asked.end();
    });
  }
}

async function whole(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BYTES) throw new Error("the answer is larger than any ConfigMap");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function messageIn(text: string): string {
  try {
    return String((JSON.parse(text) as { message?: unknown }).message ?? "");
  } catch {
    return "";
  }
}
