export { default } from "../complete-task/index.ts";
