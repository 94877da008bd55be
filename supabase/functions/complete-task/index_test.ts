import { deepStrictEqual, equal, match } from "node:assert/strict";
import type { JsonObject } from "../_shared/refusal.ts";
import { logging, post, project, Raised, session, TASK, USER } from "../_shared/testing.ts";
import * as completeTask from "./index.ts";

const FOLDER = `${USER}/${TASK}/1`;
const completed = ({ p_output_location }: JsonObject) => ({
  task: { id: TASK, status: "Complete", output_location: p_output_location ?? null },
  ready: [],
  ended: [],
});
const target = () => ({ owner: USER, task_id: TASK, attempt: 1 });
const bytes = { task_id: TASK, filename: "film.mp4", file_data: btoa("a film") };

function raise(code: string): never {
  throw new Raised(code, "Refused.");
}

function stored(): string[] {
  return [...project.objects.keys()];
}

Deno.test("bytes are stored in the folder of the attempt before the task is completed", async () => {
  project.answers({ upload_target: target, complete_task: completed });
  const { status, body } = await post(completeTask, bytes, await session());
  equal(status, 200);
  const location = `${project.url}/storage/v1/object/public/image_uploads/${FOLDER}/film.mp4`;
  const message = "Task completed and file uploaded successfully";
  deepStrictEqual(body, {
    success: true,
    public_url: location,
    message,
    outcome: completed({ p_output_location: location }),
  });
  const holder = { p_task_id: TASK, p_holder: `user:${USER}`, p_user_id: USER };
  deepStrictEqual(project.parameters("complete_task"), { ...holder, p_output_location: location });
  deepStrictEqual(stored(), [`image_uploads/${FOLDER}/film.mp4`]);
});

Deno.test("a caller that does not hold the task is refused before a byte is stored", async () => {
  project.answers({ upload_target: () => raise("LT006") });
  equal((await post(completeTask, bytes)).status, 409);
  equal(project.requests.length, 0);
});

Deno.test("a claim token fences instead of the caller's name", async () => {
  project.answers({ upload_target: target, complete_task: completed });
  await post(completeTask, { ...bytes, claim_token: "t", result: { a: 1 } });
  const { p_output_location: _, ...fence } = project.parameters("complete_task")!;
  deepStrictEqual(fence, { p_task_id: TASK, p_claim_token: "t", p_result: { a: 1 }, p_user_id: null });
});

Deno.test("when the completion is refused after the upload, the file goes again", async () => {
  project.answers({ upload_target: target, complete_task: () => raise("LT006") });
  equal((await post(completeTask, bytes)).status, 409);
  deepStrictEqual(stored(), []);
});

Deno.test("when it is not known whether the task was completed, the file stays", async () => {
  project.answers({ upload_target: target, complete_task: () => raise("08006") });
  equal((await logging(() => post(completeTask, bytes))).answer.status, 503);
  equal(stored().length, 1);
});

Deno.test("a repeated completion stores nothing and gets the answer again", async () => {
  project.answers({
    upload_target: () => raise("LT007"),
    complete_task: () => completed({ p_output_location: "first" }),
  });
  const { status, body } = await post(completeTask, { ...bytes, claim_token: "t" });
  equal(status, 200);
  equal(body.public_url, "first");
  deepStrictEqual(project.parameters("complete_task"), { p_task_id: TASK, p_claim_token: "t", p_user_id: null });
  equal(project.requests.length, 0);
});

Deno.test("the file of an earlier try is replaced, and stays when this one is refused: it may be the accepted one", async () => {
  project.answers({ upload_target: target, complete_task: () => raise("LT006") });
  project.objects.set(`image_uploads/${FOLDER}/film.mp4`, new Uint8Array(1));
  equal((await post(completeTask, bytes)).status, 409);
  equal(project.objects.get(`image_uploads/${FOLDER}/film.mp4`)?.byteLength, "a film".length);
});

for (const filename of ["../../../etc/passwd", "фильм.mp4", `${"a".repeat(300)}.mp4`, "", "a\\b", "..", "?#%"]) {
  Deno.test(`the file name ${JSON.stringify(filename).slice(0, 30)} stays in the folder`, async () => {
    project.answers({ upload_target: target, complete_task: completed });
    equal((await post(completeTask, { ...bytes, filename })).status, 200);
    match(stored()[0]!, /^image_uploads\/[0-9-]+\/[0-9-]+\/1\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}$/);
  });
}

Deno.test("an uploaded file is taken by its path", async () => {
  project.answers({ upload_target: target, complete_task: completed });
  project.objects.set(`image_uploads/${FOLDER}/film.mp4`, new Uint8Array(3));
  const { body } = await post(completeTask, { task_id: TASK, storage_path: `${FOLDER}/film.mp4` });
  match(body.public_url, /\/object\/public\/image_uploads\/.*\/1\/film\.mp4$/);
});

const elsewhere = [
  `${FOLDER}/missing.mp4`,
  `${FOLDER}/empty.mp4`,
  `${USER}/${TASK}/2/film.mp4`,
  `${FOLDER}/../2/film.mp4`,
];
for (const storage_path of [...elsewhere, `${FOLDER}/`, FOLDER, "", `/${FOLDER}/film.mp4`, `${FOLDER}/a/film.mp4`]) {
  Deno.test(`the path ${storage_path.replace(USER, "user").replace(TASK, "task")} is refused`, async () => {
    project.answers({ upload_target: target });
    project.objects.set(`image_uploads/${FOLDER}/empty.mp4`, new Uint8Array(0));
    project.objects.set(`image_uploads/${USER}/${TASK}/2/film.mp4`, new Uint8Array(3));
    const { status, body } = await post(completeTask, { task_id: TASK, storage_path });
    equal(status, 422);
    equal(body.details.field, "storage_path");
  });
}

Deno.test("a URL is stored as it is, and Storage is not asked", async () => {
  project.answers({ complete_task: completed });
  const { body } = await post(completeTask, { task_id: TASK, output_location: "https://example.com/film.mp4" });
  equal(body.public_url, "https://example.com/film.mp4");
  equal(project.requests.length, 0);
});

const wrong: [body: Record<string, unknown>, field: string][] = [
  [{}, "file_data"],
  [{ filename: "a" }, "file_data"],
  [{ file_data: "AAAA" }, "filename"],
  [{ file_data: "AAAA", filename: "a", output_location: "x" }, "output_location"],
  [{ output_location: "x", storage_path: "y" }, "storage_path"],
  [{ output_location: "x", filename: "a" }, "filename"],
  [{ file_data: "", filename: "a" }, "file_data"],
  [{ file_data: "A", filename: "a" }, "file_data"],
  [{ file_data: "AA=A", filename: "a" }, "file_data"],
  [{ file_data: "AA\nA", filename: "a" }, "file_data"],
  [{ file_data: "AA-_", filename: "a" }, "file_data"],
  [{ file_data: "data:video/mp4;base64,AAAA", filename: "a" }, "file_data"],
];
for (const [body, field] of wrong) {
  Deno.test(`${JSON.stringify(body)} is refused, naming ${field}`, async () => {
    project.answers({});
    const answer = await post(completeTask, { task_id: TASK, ...body });
    equal(answer.status, 422);
    equal(answer.body.details.field, field);
  });
}

Deno.test("a task that has no output is completed by its token alone", async () => {
  project.answers({ complete_task: completed });
  equal((await post(completeTask, { task_id: TASK, claim_token: "t", result: {} })).body.public_url, null);
});

Deno.test("twenty megabytes pass; one byte more is refused with 413 naming the other route", async () => {
  project.answers({ upload_target: target, complete_task: completed });
  const film = (size: number) => new Uint8Array(size).toBase64();
  equal((await post(completeTask, { ...bytes, file_data: film(20 * 2 ** 20) })).status, 200);
  const { status, body } = await post(completeTask, { ...bytes, file_data: film(20 * 2 ** 20 + 1) });
  equal(status, 413);
  match(body.hint, /generate-upload-url/);
});

Deno.test("a body over the limit is refused with 413 naming the other route", async () => {
  const { status, body } = await post(completeTask, { ...bytes, file_data: "A".repeat(29 * 2 ** 20) });
  equal(status, 413);
  match(body.hint, /generate-upload-url/);
});
