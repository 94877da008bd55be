import type { Queue } from "../_shared/database.ts";
import { type JsonObject, Refusal } from "../_shared/refusal.ts";
import { AttemptFolder, publicUrl, type Target } from "../_shared/storage.ts";
import type { Output } from "./output.ts";

export interface Outcome {
  task: { output_location: string | null };
}

/** Complete the task with a file in Storage: the file is there and whole before the row says so. */
export async function completeWithFile(
  output: Exclude<Output, { way: "location" }>,
  queue: Queue,
  holder: JsonObject,
  complete: (location?: string) => Promise<Outcome>,
): Promise<Outcome> {
  let folder: AttemptFolder;
  try {
    // Before a byte is stored: a caller that does not hold the task is refused here.
    folder = new AttemptFolder(await queue.hold<Target>("upload_target", holder));
  } catch (error) {
    // Whoever repeats a completion has nothing to store, and gets the same answer again.
    if (error instanceof Refusal && error.code === "task_ended") return await complete();
    throw error;
  }
  if (output.way === "upload") {
    await folder.check(output.path);
    return await complete(publicUrl(output.path));
  }
  const file = folder.file(output.name);
  const isNew = await folder.store(file, output.bytes);
  try {
    return await complete(publicUrl(file));
  } catch (error) {
    // Only when it is certain that nothing points at the file.
    if (isNew && error instanceof Refusal) await folder.remove(file).catch(() => {});
    throw error;
  }
}
