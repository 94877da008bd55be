export { default } from "../claim-next-task/index.ts";
