/** What `npm pack` would publish: its contents, its types, and that it can be imported. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { Mount, PACKAGE, payload } from "./kit.js";

const APPLICATION = `
import { PromptRollout, type Assignment, type Outcome } from "promptrollout-sdk";

const rollout = await PromptRollout.fromDirectory(process.argv[2] ?? "", { default: "Hi {{shop}}", watch: false });
const a: Assignment = rollout.assign({ unit: "u-1" });
const outcome: Outcome = "ok";
const text: string = await a.request(async (r) => {
  r.outcome(outcome);
  return a.renderText({ shop: "S" });
});
// @ts-expect-error a score is a number
a.score("helpfulness", "good");
console.log(JSON.stringify([rollout.sequence, text]));
`;

describe("the package", () => {
  const folder = mkdtempSync(join(tmpdir(), "promptrollout-"));
  const installed = join(folder, "node_modules", "promptrollout-sdk");
  const mount = new Mount();
  let files: string[] = [];

  before(() => {
    // A copy without scripts: other tests read dist while this one runs.
    const copy = join(folder, "copy");
    for (const name of ["dist", "README.md", "package.json"]) cpSync(join(PACKAGE, name), join(copy, name), { recursive: true });
    const told = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--loglevel=silent"], { cwd: copy, encoding: "utf8" });
    // npm 10 and older answer a list, newer ones an object by name.
    const parsed = JSON.parse(told) as Record<string, { filename: string; files: { path: string }[] }>;
    const packed = Object.values(parsed)[0];
    assert.ok(packed);
    files = packed.files.map((file) => file.path);
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    // An empty project, and no network: the peer comes by a link.
    const install = ["install", "--offline", "--legacy-peer-deps", "--no-audit", "--no-fund", "--loglevel=error"];
    execFileSync("npm", [...install, join(copy, packed.filename)], { cwd: folder, stdio: "pipe" });
    for (const name of ["prom-client", "@types"]) {
      symlinkSync(join(PACKAGE, "node_modules", name), join(folder, "node_modules", name));
    }
    writeFileSync(join(folder, "application.ts"), APPLICATION);
  });

  after(() => {
    rmSync(folder, { recursive: true });
    mount.remove();
  });

  test("holds the built modules with their types, a README, and nothing else", () => {
    assert.ok(["README.md", "package.json", "dist/index.js", "dist/index.d.ts"].every((name) => files.includes(name)));
    const strange = files.filter((name) => !/^(README\.md|package\.json|dist\/[a-z]+\.(js|d\.ts))$/.test(name));
    assert.deepEqual(strange, []);
    assert.equal(files.filter((f) => f.endsWith(".js")).length, files.filter((f) => f.endsWith(".d.ts")).length);
  });

  test("needs nothing but prom-client", () => {
    const { dependencies = {}, peerDependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    assert.deepEqual([Object.keys(dependencies), Object.keys(peerDependencies)], [[], ["prom-client"]]);
  });

  test("type-checks strictly in an application, and runs there", () => {
    const tsc = join(PACKAGE, "node_modules", ".bin", "tsc");
    const options = ["--strict", "--module", "nodenext", "--target", "es2022", "--types", "node", "--skipLibCheck"];
    execFileSync(tsc, [...options, "application.ts"], { cwd: folder, stdio: "pipe" });
    mount.write(payload());
    const said = execFileSync(process.execPath, ["application.js", mount.path], { cwd: folder, encoding: "utf8" });
    assert.match(said, /^\[1,"(Old|New) S"\]\n$/);
  });
});
