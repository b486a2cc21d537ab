/** An answer other than success: HTTP status, Discord's code, and the sentence Discord says. */
import { RESTJSONErrorCodes as Code } from "discord-api-types/v10";

export class ApiError extends Error {
  readonly status: number;
  readonly code: number;
  readonly body: Readonly<Record<string, unknown>>;
  /** Seconds; only for 429 made by a rule of its own. */
  readonly retryAfter: number | null;

  constructor(
    status: number,
    code: number,
    body: { message: string; errors?: object; retry_after?: number },
  ) {
    super(body.message);
    this.status = status;
    this.code = code;
    this.body = { ...body, code };
    this.retryAfter = body.retry_after ?? null;
  }
}

const said =
  (status: number, code: number, message: string): (() => ApiError) =>
  () =>
    new ApiError(status, code, { message });

export const unauthorized = said(401, 0, "401: Unauthorized");
export const notFound = said(404, 0, "404: Not Found");
export const unknownChannel = said(404, Code.UnknownChannel, "Unknown Channel");
export const unknownGuild = said(404, Code.UnknownGuild, "Unknown Guild");
export const unknownMember = said(404, Code.UnknownMember, "Unknown Member");
export const unknownUser = said(404, Code.UnknownUser, "Unknown User");
export const unknownMessage = said(404, Code.UnknownMessage, "Unknown Message");
export const unknownWebhook = said(404, Code.UnknownWebhook, "Unknown Webhook");
export const unknownInteraction = said(404, Code.UnknownInteraction, "Unknown interaction");
export const unknownCommand = said(
  404,
  Code.UnknownApplicationCommand,
  "Unknown application command",
);
export const alreadyAcknowledged = said(
  400,
  Code.InteractionHasAlreadyBeenAcknowledged,
  "Interaction has already been acknowledged.",
);
export const invalidWebhookToken = said(401, Code.InvalidWebhookToken, "Invalid Webhook Token");
export const missingAccess = said(403, Code.MissingAccess, "Missing Access");
export const missingPermissions = said(403, Code.MissingPermissions, "Missing Permissions");
export const notYourMessage = said(
  403,
  Code.CannotEditMessageAuthoredByAnotherUser,
  "Cannot edit a message authored by another user",
);
export const emptyMessage = said(
  400,
  Code.CannotSendAnEmptyMessage,
  "Cannot send an empty message",
);
export const badJson = said(
  400,
  Code.RequestBodyContainsInvalidJSON,
  "The request body contains invalid JSON.",
);
export const noHistory = said(
  400,
  Code.CannotReplyWithoutPermissionToReadMessageHistory,
  "Cannot reply without permission to read message history",
);
export const wrongChannelType = said(
  400,
  Code.CannotExecuteActionOnThisChannelType,
  "Cannot execute action on this channel type",
);
export const threadExists = said(
  400,
  Code.ThreadAlreadyCreatedForMessage,
  "A thread has already been created for this message",
);
export const archivedThread = said(400, Code.InvalidActionOnArchivedThread, "Thread is archived");
export const dailyCreates = said(
  429,
  Code.MaximumDailyApplicationCommandCreatesReached,
  "Max number of daily application command creates has been reached (200)",
);

export const tooManyCommands = (max: number): ApiError =>
  new ApiError(400, Code.MaximumNumberOfApplicationCommandsReached, {
    message: `Maximum number of application commands reached (${max}).`,
  });

export const tooManyOldEdits = (retryAfterMs: number): ApiError =>
  new ApiError(429, Code.MaximumNumberOfEditsToMessagesOlderThanOneHourReached, {
    message: "Maximum number of edits to messages older than 1 hour reached. Try again later.",
    retry_after: retryAfterMs / 1000,
  });
