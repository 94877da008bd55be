import { StorageClient, type StorageError } from "npm:@supabase/storage-js@2.119.1";
import { serviceHeaders } from "./database.ts";
import { contentTypeOf, safeName } from "./names.ts";
import { invalid, Refusal, Unavailable } from "./refusal.ts";
import { settings } from "./settings.ts";

/** Where the holder of an attempt may store, as the database says. */
export interface Target {
  owner: string;
  task_id: string;
  attempt: number;
}

/** Storage's own life of a signed upload URL. */
const SIGNED_FOR_MS = 2 * 60 * 60 * 1000;

/** The folder of one attempt, and the files in it. A later attempt has another folder, so nothing is overwritten. */
export class AttemptFolder {
  readonly path: string;

  constructor(target: Target) {
    this.path = `${target.owner}/${target.task_id}/${target.attempt}`;
  }

  file(name: string): string {
    return `${this.path}/${safeName(name)}`;
  }

  /** Store `bytes`, in place of those of an earlier try; true if there was no such file. */
  async store(file: string, bytes: Uint8Array): Promise<boolean> {
    const isNew = await this.#put(file, bytes, false);
    if (!isNew) await this.#put(file, bytes, true);
    const size = await this.#size(file);
    if (size !== bytes.byteLength) throw new Unavailable("Storage", `${file}: ${size} of ${bytes.byteLength} bytes`);
    return isNew;
  }

  async #put(file: string, bytes: Uint8Array, upsert: boolean): Promise<boolean> {
    const { error } = await bucket().upload(file, bytes, { contentType: contentTypeOf(file), upsert });
    if (error && !(isDuplicate(error) && !upsert)) throw failure(error);
    return !error;
  }

  /** Refuses a path outside this folder, or without a file that has content. */
  async check(path: string): Promise<void> {
    const name = path.slice(this.path.length + 1);
    if (path !== `${this.path}/${name}` || name !== safeName(name)) {
      throw invalid("storage_path", "is not in the folder of this attempt.", `Upload below ${this.path}/.`);
    }
    const size = await this.#size(path);
    if (!size) throw invalid("storage_path", size === 0 ? "is an empty file." : "names no file.", "Upload it first.");
  }

  async remove(file: string): Promise<void> {
    const { error } = await bucket().remove([file]);
    if (error) throw failure(error);
  }

  /** A URL to which one PUT may send the file within two hours. */
  async signedUpload(
    file: string,
  ): Promise<{ upload_url: string; storage_path: string; token: string; expires_at: string }> {
    const expires = new Date(Date.now() + SIGNED_FOR_MS);
    const { data, error } = await bucket().createSignedUploadUrl(file, { upsert: true });
    if (error) throw failure(error);
    return {
      upload_url: outside(data.signedUrl),
      storage_path: data.path,
      token: data.token,
      expires_at: expires.toISOString(),
    };
  }

  async #size(file: string): Promise<number | undefined> {
    const { data, error } = await bucket().info(file);
    if (error && isMissing(error)) return undefined;
    if (error) throw failure(error);
    return data.size ?? 0;
  }
}

export function publicUrl(file: string): string {
  return outside(bucket().getPublicUrl(file).data.publicUrl);
}

let client: StorageClient | undefined;

function bucket(): ReturnType<StorageClient["from"]> {
  client ??= new StorageClient(`${settings().url}/storage/v1`, serviceHeaders());
  return client.from(settings().bucket);
}

function outside(url: string): string {
  return url.replace(settings().url, settings().publicUrl);
}

// Storage answers 400 and writes the true status into the body.
function statusOf(error: StorageError): number {
  return Number(error.statusCode ?? error.status ?? 0);
}

function isDuplicate(error: StorageError): boolean {
  return statusOf(error) === 409;
}

function isMissing(error: StorageError): boolean {
  return statusOf(error) === 404;
}

function failure(error: StorageError): Error {
  const status = statusOf(error);
  if (status === 413 || status === 415) {
    const hint = "The bucket's limits say what may be stored.";
    return new Refusal(status === 413 ? 413 : 422, "unstorable", `Storage refuses the file: ${error.message}.`, {
      hint,
    });
  }
  if (status === 0 || status === 429 || status > 500) return new Unavailable("Storage", error);
  return new Error("Storage failed", { cause: error });
}
