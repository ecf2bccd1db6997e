/** The API source against a server that speaks the watch protocol of the API server. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { Registry } from "prom-client";

import { PayloadError, PromptRollout } from "../src/index.js";
import { inCluster } from "../src/kubernetes.js";
import { Log, NAME, payload, until, valueIn } from "./kit.js";

const configMap = (sequence: number): object => ({
  metadata: { resourceVersion: String(100 + sequence) },
  data: payload({ sequence }),
});

describe("watching the API server", () => {
  let server: Server;
  let url: string;
  let current: { status: number; body: object };
  let watches: ServerResponse[];
  let asked: URL[];
  let tokens: (string | undefined)[];
  let rollout: PromptRollout | undefined;
  let registry: Registry;
  const folder = mkdtempSync(join(tmpdir(), "promptrollout-"));
  const tokenFile = join(folder, "token");

  beforeEach(async () => {
    [watches, asked, tokens] = [[], [], []];
    current = { status: 200, body: configMap(1) };
    registry = new Registry();
    writeFileSync(tokenFile, "first\n");
    server = createServer((request, response) => {
      const target = new URL(request.url ?? "", "http://api");
      asked.push(target);
      tokens.push(request.headers.authorization);
      if (!target.searchParams.has("watch")) {
        response.writeHead(current.status).end(JSON.stringify(current.body));
        return;
      }
      response.writeHead(200).flushHeaders();
      watches.push(response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterEach(() => {
    rollout?.close();
    server.closeAllConnections();
    server.close();
  });

  async function start(): Promise<PromptRollout> {
    rollout = await PromptRollout.watch("shop", "answers", { api: { url, tokenFile }, registry, logger: new Log() });
    await until(() => watches.length === 1, "the watch");
    return rollout;
  }

  const tell = (event: object): unknown => watches.at(-1)?.write(`${JSON.stringify(event)}\n`);

  test("a change arrives through the watch, under the name and the version it asked for", async () => {
    const watched = await start();
    assert.equal(watched.sequence, 1);
    tell({ type: "MODIFIED", object: configMap(2) });
    await until(() => watched.sequence === 2, "the change");
    const last = asked.at(-1);
    assert.equal(last?.pathname, "/api/v1/namespaces/shop/configmaps");
    assert.equal(last?.searchParams.get("fieldSelector"), "metadata.name=answers");
    assert.equal(last?.searchParams.get("resourceVersion"), "101");
    assert.deepEqual([...new Set(tokens)], ["Bearer first"]);
  });

  test("a watch that is too old reads anew, with the token of now, and goes on", async () => {
    const watched = await start();
    current = { status: 200, body: configMap(5) };
    writeFileSync(tokenFile, "second\n");
    tell({ type: "ERROR", object: { code: 410, metadata: {} } });
    await until(() => watched.sequence === 5, "the new state");
    await until(() => watches.length === 2, "the next watch");
    assert.equal(asked.at(-1)?.searchParams.get("resourceVersion"), "105");
    assert.equal(tokens.at(-1), "Bearer second");
  });

  test("a watch that ends goes on from its bookmark", async () => {
    await start();
    tell({ type: "BOOKMARK", object: { metadata: { resourceVersion: "250" } } });
    watches[0]?.end();
    await until(() => watches.length === 2, "the next watch");
    assert.equal(asked.at(-1)?.searchParams.get("resourceVersion"), "250");
  });

  test("a connection that breaks is made anew", async () => {
    const watched = await start();
    current = { status: 200, body: configMap(3) };
    watches[0]?.destroy();
    await until(() => watched.sequence === 3, "the state after the break");
  });

  test("a deleted ConfigMap keeps the last payload", async () => {
    const watched = await start();
    tell({ type: "DELETED", object: configMap(2) });
    const labels = { rollout: NAME, reason: "missing" };
    await until(async () => (await valueIn(registry, "payload_errors_total", labels)) === 1, "the report");
    assert.equal(watched.sequence, 1);
  });

  test("without the right to read the start says so", async () => {
    current = { status: 403, body: { message: "configmaps is forbidden" } };
    const options = { api: { url }, registry, logger: new Log() };
    await assert.rejects(PromptRollout.watch("shop", "answers", options), /HTTP 403 configmaps is forbidden/);
  });

  test("a server that is away at the start is asked again soon", async () => {
    current = { status: 503, body: { message: "starting" } };
    rollout = await PromptRollout.watch("shop", "answers", { api: { url }, default: "the code's", registry, logger: new Log() });
    assert.equal(rollout.sequence, undefined);
    current = { status: 200, body: configMap(1) };
    await until(() => rollout?.sequence === 1, "the payload");
  });

  test("outside of a pod the error says what to use", () => {
    assert.throws(() => inCluster({}), (error) => error instanceof PayloadError && /fromDirectory/.test(error.message));
    assert.equal(inCluster({ KUBERNETES_SERVICE_HOST: "::1" }).url, "https://[::1]:443");
    rmSync(folder, { recursive: true, force: true });
  });
});
