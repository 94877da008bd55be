export { default } from "../task-counts/index.ts";
