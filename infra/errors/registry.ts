/**
 * Every error a person can meet. The key *is* the i18next key in `locales/<code>/errors.json`;
 * tests check that each has a text in every language and a test that provokes it.
 *
 * `audience`: `user` is shown in Discord (ephemeral), `operator` in the terminal and the log.
 */
export interface ErrorEntry {
  readonly audience: "user" | "operator";
  /** The same call may succeed later without a change. */
  readonly retryable: boolean;
  /** Wrong words on the command line: exit code 2. */
  readonly usage?: true;
}

export const errorRegistry = {
  // Discord users
  MESSAGE_EMPTY: { audience: "user", retryable: false },
  MESSAGE_TOO_LONG: { audience: "user", retryable: false },
  MAILBOX_FULL: { audience: "user", retryable: true },
  BUSY_TRY_LATER: { audience: "user", retryable: true },
  TURN_FAILED: { audience: "user", retryable: true },
  TURN_NOT_FINITE: { audience: "user", retryable: true },
  NOT_YOUR_BUTTON: { audience: "user", retryable: false },
  BUTTON_EXPIRED: { audience: "user", retryable: false },
  REGENERATE_NOT_LAST: { audience: "user", retryable: false },
  CONVERSATION_EMPTY: { audience: "user", retryable: false },
  FORK_NOT_HERE: { audience: "user", retryable: false },
  FORK_FORBIDDEN: { audience: "user", retryable: false },
  DELETE_FORBIDDEN: { audience: "user", retryable: false },
  EXPORT_TOO_LARGE: { audience: "user", retryable: false },
  // Redis
  REDIS_UNAVAILABLE: { audience: "operator", retryable: true },
  REDIS_NOT_FOUND: { audience: "operator", retryable: false },
  REDIS_UNSAFE: { audience: "operator", retryable: false },
  RECORD_CORRUPT: { audience: "operator", retryable: false },
  // keys
  KEYS_INVALID: { audience: "operator", retryable: false, usage: true },
  KEYS_REQUIRED: { audience: "operator", retryable: false },
  KEY_MISSING: { audience: "operator", retryable: false },
  // backups
  BACKUP_EXISTS: { audience: "operator", retryable: false },
  BACKUP_UNREADABLE: { audience: "operator", retryable: false },
  BACKUP_NEWER: { audience: "operator", retryable: false },
  BACKUP_STOPPED: { audience: "operator", retryable: true },
  RESTORE_CONFLICT: { audience: "operator", retryable: false },
  // models
  MODEL_NOT_FOUND: { audience: "operator", retryable: false },
  MODEL_BROKEN: { audience: "operator", retryable: false },
  MODEL_VERSION: { audience: "operator", retryable: false },
  MODEL_VARIANT_MISSING: { audience: "operator", retryable: false },
  MODEL_KIND: { audience: "operator", retryable: false },
  MODEL_UNSAFE: { audience: "operator", retryable: false },
  MODEL_EXISTS: { audience: "operator", retryable: false },
  CONVERT_STOPPED: { audience: "operator", retryable: true },
  VOCABULARY_MISSING: { audience: "operator", retryable: false },
  VOCABULARY_BROKEN: { audience: "operator", retryable: false },
  TOKEN_OUT_OF_RANGE: { audience: "operator", retryable: false, usage: true },
  BACKEND_UNAVAILABLE: { audience: "operator", retryable: false },
  // pulling models
  MODEL_UNKNOWN: { audience: "operator", retryable: false, usage: true },
  MODEL_PROTECTED: { audience: "operator", retryable: false },
  MODEL_BUSY: { audience: "operator", retryable: true },
  HUB_UNREACHABLE: { audience: "operator", retryable: true },
  HUB_DENIED: { audience: "operator", retryable: false },
  HUB_NOT_FOUND: { audience: "operator", retryable: false },
  HUB_ANSWER: { audience: "operator", retryable: true },
  PULL_AMBIGUOUS: { audience: "operator", retryable: false, usage: true },
  PULL_CORRUPT: { audience: "operator", retryable: true },
  PULL_FILE_EXISTS: { audience: "operator", retryable: false },
  PULL_STOPPED: { audience: "operator", retryable: true },
  FOLDER_UNWRITABLE: { audience: "operator", retryable: false },
  DISK_FULL: { audience: "operator", retryable: true },
  // Discord, operator side
  DISCORD_TOKEN_INVALID: { audience: "operator", retryable: false },
  DISCORD_INTENT_MISSING: { audience: "operator", retryable: false },
  DISCORD_UNREACHABLE: { audience: "operator", retryable: true },
  // the command line and set-up
  CONFIG_INVALID: { audience: "operator", retryable: false, usage: true },
  PLATFORM_NOT_RUNNING: { audience: "operator", retryable: true },
  ALREADY_RUNNING: { audience: "operator", retryable: false },
  PORT_IN_USE: { audience: "operator", retryable: false },
  USAGE: { audience: "operator", retryable: false, usage: true },
  WORKER_MISSING: { audience: "operator", retryable: true },
  CONVERSATION_UNKNOWN: { audience: "operator", retryable: false },
  INTERNAL: { audience: "operator", retryable: false },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorRegistry;
