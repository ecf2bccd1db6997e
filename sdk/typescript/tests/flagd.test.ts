/** `flagd.json` by the real OpenFeature provider for Node: the same arm for the same unit as this SDK. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { FlagdProvider } from "@openfeature/flagd-provider";
import { type Client, OpenFeature } from "@openfeature/server-sdk";

import { bucketOf } from "../src/index.js";
import { REPOSITORY } from "./kit.js";

interface Vectors {
  salt: string;
  flag: string;
  flagd: object;
  arms: { name: string; revision: string; weight: number }[];
}

describe("flagd.json", () => {
  const vectors = JSON.parse(readFileSync(join(REPOSITORY, "sdk", "conformance", "flagd.json"), "utf8")) as Vectors;
  const folder = mkdtempSync(join(tmpdir(), "promptrollout-"));
  let client: Client;

  before(async () => {
    const path = join(folder, "flagd.json");
    writeFileSync(path, JSON.stringify(vectors.flagd));
    await OpenFeature.setProviderAndWait(new FlagdProvider({ resolverType: "in-process", offlineFlagSourcePath: path }));
    client = OpenFeature.getClient();
  });

  after(async () => {
    await OpenFeature.close();
    rmSync(folder, { recursive: true });
  });

  function owner(bucket: number): { name: string; revision: string } | undefined {
    let end = 0;
    return vectors.arms.find(({ weight }) => bucket < (end += weight));
  }

  test("each unit gets the arm that the SDK gives it", async () => {
    for (let i = 0; i < 2000; i += 1) {
      const bucket = bucketOf(vectors.salt, `user-${i}`);
      const found = await client.getStringDetails(vectors.flag, "none", { targetingKey: `user-${i}`, bucket });
      assert.deepEqual([found.variant, found.value], [owner(bucket)?.name, owner(bucket)?.revision]);
    }
  });

  test("the edges of the ranges, and stable without a bucket", async () => {
    for (const bucket of [0, 499, 500, 2499, 2500, 9999]) {
      assert.equal((await client.getStringDetails(vectors.flag, "none", { bucket })).variant, owner(bucket)?.name);
    }
    assert.equal((await client.getStringDetails(vectors.flag, "none", {})).variant, "stable");
  });
});
