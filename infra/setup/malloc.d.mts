export function withTunables(tunables: string | undefined): string;
export function withoutHugePages(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv;
