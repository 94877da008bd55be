// Enqueue one task, or a batch that is stored whole or not at all.
import { serve } from "../_shared/serve.ts";
import { type JsonObject } from "../_shared/refusal.ts";
import { OWNED, TASK_FIELDS, taskOf, tasksOf } from "./tasks.ts";

interface Enqueued {
  task: { id: string };
  created: boolean;
}

export default serve({
  scope: "enqueue",
  fields: { ...TASK_FIELDS, tasks: "json?" },
  owned: OWNED,
  async answer({ body, queue }) {
    const { tasks, ...single } = body;
    const enqueue = (p_tasks: JsonObject[]) => queue.ask<Enqueued[]>("enqueue_tasks", { p_tasks });

    if (tasks !== undefined) return { tasks: await enqueue(tasksOf(tasks, single)) };

    const [stored] = await enqueue([taskOf(single)]);
    return { task_id: stored!.task.id, status: "Task queued", created: stored!.created, task: stored!.task };
  },
});
