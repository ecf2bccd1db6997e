/** Where a payload comes from: a directory that kubelet (or anyone) keeps up to date. */

import { type FSWatcher, watch } from "node:fs";
import { open, readlink, stat } from "node:fs/promises";
import { basename, isAbsolute, join, resolve } from "node:path";

import { PayloadError, reasonOf } from "./errors.js";
import { type Read, ROLLOUT_FILE } from "./payload.js";

/** A ConfigMap holds 1 MiB; whatever is larger is no payload and is not read. */
export const MAX_FILE_BYTES = 1024 * 1024;

/** Something that has versions of a payload. */
export interface Source {
  /** What to call it while no payload has told the rollout's name. */
  readonly name: string;
  /** Differs when the payload may have changed; cheap, never rejects. */
  version(): Promise<string>;
  /** A reader of one version's files. PayloadError when there is none. */
  open(): Promise<Read>;
  /** Call back when the payload may have changed; what this misses, polling finds. */
  listen(changed: () => void): void;
  /** No more versions are wanted. */
  close(): void;
}

/**
 * A mounted ConfigMap, or any directory with the same files.
 *
 * Kubelet writes each version into a directory of its own and swaps the symlink `..data`: the link is resolved once, so
 * that all files are of one version. In a plain directory the digests in rollout.json tell a mixture.
 */
export class DirectorySource implements Source {
  #watcher: FSWatcher | undefined;

  private readonly path: string;

  constructor(path: string) {
    this.path = resolve(path); // a service that becomes a daemon changes its directory
  }

  get name(): string {
    return basename(this.path);
  }

  async version(): Promise<string> {
    const target = await readlink(join(this.path, "..data")).catch(() => undefined);
    if (target !== undefined) return target;
    const found = await stat(join(this.path, ROLLOUT_FILE), { bigint: true }).catch(() => undefined);
    return found ? `${found.mtimeNs} ${found.size} ${found.ino}` : "";
  }

  async open(): Promise<Read> {
    const target = await readlink(join(this.path, "..data")).catch(() => "");
    const base = isAbsolute(target) ? target : join(this.path, target);
    return (file) => readWhole(join(base, file));
  }

  listen(changed: () => void): void {
    try {
      this.#watcher = watch(this.path, { persistent: false }, changed);
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // No directory yet, or no inotify left: polling finds the change.
    }
  }

  close(): void {
    this.#watcher?.close();
  }
}

async function readWhole(path: string): Promise<Buffer> {
  let handle;
  try {
    handle = await open(path, "r");
    // Not the whole of it blindly: what is too large is not read.
    const buffer = Buffer.allocUnsafe(MAX_FILE_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) break;
    }
    if (length > MAX_FILE_BYTES) {
      throw new PayloadError("too_large", `${path} is larger than a ConfigMap can be (${MAX_FILE_BYTES} bytes)`);
    }
    return Buffer.from(buffer.subarray(0, length));
  } catch (error) {
    if (error instanceof PayloadError) throw error;
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw new PayloadError("missing", `${path} does not exist`);
    }
    throw new PayloadError("unreadable", `${path} cannot be read: ${reasonOf(error)}`);
  } finally {
    await handle?.close();
  }
}
