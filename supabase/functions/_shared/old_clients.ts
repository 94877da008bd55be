/** An old client names no lease and never renews one: a task of it that takes longer than this starts again. */
export const OLD_CLIENT_LEASE = 3600;
