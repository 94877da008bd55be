// Where the holder of a task may PUT its output, which complete-task then takes by its storage_path.
import { invalid } from "../_shared/refusal.ts";
import { serve } from "../_shared/serve.ts";
import { AttemptFolder, type Target } from "../_shared/storage.ts";

const CONTENT_TYPE = /^[\w.+-]+\/[\w.+-]+(; *[\w.+-]+=[\w.+-]+)*$/;

export default serve({
  scope: "work",
  fields: { task_id: "text", filename: "text", content_type: "text?", claim_token: "text?" },
  async answer({ body, queue }) {
    if (body.content_type !== undefined && !CONTENT_TYPE.test(body.content_type)) {
      throw invalid("content_type", "is no media type.", "Send one such as video/mp4.");
    }
    const holder = { p_task_id: body.task_id, p_claim_token: body.claim_token };
    const folder = new AttemptFolder(await queue.hold<Target>("upload_target", holder));
    return await folder.signedUpload(folder.file(body.filename));
  },
});
