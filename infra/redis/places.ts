/** The places of records: what lies where, for those who seal and for those who open. */
import type { ConversationId, TurnKey } from "#infra/turn/index.ts";
import type { Place } from "./keyring.ts";
import { conversationKeys, liveChannel, snapshotKey } from "./keys.ts";

/** A turn in its mailbox; the script that ends it puts it as it stands into `last`. */
export function mailboxPlace(conversation: ConversationId): Place {
  return { kind: "mailbox", key: conversationKeys(conversation).mailbox };
}

export function replyPlace(conversation: ConversationId, key: TurnKey): Place {
  return { kind: "reply record", key: conversationKeys(conversation).reply(key) };
}

export function blockPlace(conversation: ConversationId): Place {
  return { kind: "token block", key: conversationKeys(conversation).log };
}

export function pastTurnPlace(conversation: ConversationId): Place {
  return { kind: "past turn", key: conversationKeys(conversation).turns };
}

/** What the head's reply has drawn, for who goes on with it. */
export function partialPlace(conversation: ConversationId): Place {
  return { kind: "partial reply", key: conversationKeys(conversation).partial };
}

/** Who has spoken, in the conversation's hash; the field says nothing that matters. */
export function speakerPlace(conversation: ConversationId): Place {
  return { kind: "first turn", key: `${conversationKeys(conversation).meta} first` };
}

export function snapshotPlace(conversation: ConversationId, logHead: string): Place {
  return { kind: "snapshot", key: snapshotKey(conversation, logHead) };
}

export function framePlace(conversation: ConversationId): Place {
  return { kind: "live frame", key: liveChannel(conversation) };
}

/** A reply that the gateway whose hash is `key` is showing. */
export function openReplyPlace(key: string, member: string): Place {
  return { kind: "open reply", key: `${key} ${member}` };
}

export function forkPlace(key: string, operation: string): Place {
  return { kind: "pending fork", key: `${key} ${operation}` };
}
