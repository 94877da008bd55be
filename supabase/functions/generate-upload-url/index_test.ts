import { equal, ok } from "node:assert/strict";
import { post, project, Raised, TASK, USER } from "../_shared/testing.ts";
import * as generateUploadUrl from "./index.ts";

const wish = { task_id: TASK, filename: "../film.mp4", content_type: "video/mp4" };

Deno.test("the holder gets a URL into the folder of its attempt, for two hours", async () => {
  project.answers({ upload_target: () => ({ owner: USER, task_id: TASK, attempt: 2 }) });
  const { body } = await post(generateUploadUrl, wish);
  equal(body.storage_path, `${USER}/${TASK}/2/_film.mp4`);
  ok(
    body.upload_url.startsWith(
      `${project.url}/storage/v1/object/upload/sign/image_uploads/${body.storage_path}?token=`,
    ),
  );
  equal(body.token, "signed");
  const hours = (Date.parse(body.expires_at) - Date.now()) / 3_600_000;
  ok(hours > 1.9 && hours <= 2);
});

Deno.test("another caller gets none", async () => {
  project.answers({
    upload_target: () => {
      throw new Raised("LT006");
    },
  });
  equal((await post(generateUploadUrl, wish)).status, 409);
  equal(project.requests.length, 0);
});

for (const body of [{ ...wish, content_type: "video" }, { ...wish, filename: 1 }, { task_id: TASK }]) {
  Deno.test(`${JSON.stringify(body)} is refused with 422`, async () => {
    equal((await post(generateUploadUrl, body)).status, 422);
  });
}
