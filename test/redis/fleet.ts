/**
 * Several real redis-servers behind one address, as plain processes on loopback ports: a master with a
 * replica and three sentinels, or a cluster of three masters. All gone when the test ends.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { connectRedis } from "#infra/redis/client.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";

const host = "127.0.0.1";
const configuration = "redis.conf";
/** Of a cluster's node for its mates: ten thousand above by default, which must be a port, too. */
const portMax = 50_000;

/** Ports that nobody listens on now. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, host, done));
    const address = server.address();
    if (typeof address === "object" && address !== null && address.port < portMax) {
      ports.add(address.port);
    }
    await new Promise((done) => server.close(done));
  }
  return [...ports];
}

abstract class Fleet {
  readonly directory = mkdtempSync(join(tmpdir(), "eyrie-fleet-"));
  abstract readonly url: string;
  readonly #processes = new Map<number, ChildProcess>();

  client(): Promise<ScriptedRedis> {
    return connectRedis(this.url);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#processes.keys()].map((port) => this.kill(port)));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** As a power cut would. */
  async kill(port: number): Promise<void> {
    const child = this.#processes.get(port);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  }

  protected spawn(port: number, lines: readonly string[], mode: readonly string[] = []): void {
    const directory = join(this.directory, String(port));
    mkdirSync(directory, { recursive: true });
    const all = [`port ${port}`, `bind ${host}`, `dir ${directory}`, ...lines];
    writeFileSync(join(directory, configuration), `${all.join("\n")}\n`);
    this.#run(port, mode);
  }

  /** As its supervisor would, after its end. */
  restart(port: number): void {
    this.#run(port);
  }

  #run(port: number, mode: readonly string[] = []): void {
    const file = join(this.directory, String(port), configuration);
    const child = spawn("redis-server", [file, ...mode], { stdio: "ignore" });
    const kill = (): boolean => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.removeListener("exit", kill));
    this.#processes.set(port, child);
  }

  /** Asks a server again and again until the answer is right. */
  protected async until(port: number, right: (server: Redis) => Promise<boolean>): Promise<void> {
    const server = new Redis(port, host, { retryStrategy: () => 50, maxRetriesPerRequest: null });
    server.on("error", () => undefined);
    try {
      while (!(await right(server))) await sleep(50);
    } finally {
      server.disconnect();
    }
  }
}

const data = [
  "appendonly yes",
  "appendfsync always",
  "maxmemory 1gb",
  "maxmemory-policy noeviction",
  'save ""',
];

/** The user whose name and password the replica has. */
const follower = "follower";

export class SentinelFleet extends Fleet {
  readonly url: string;
  readonly masterPort: number;
  readonly replicaPort: number;

  private constructor(ports: readonly number[], more: readonly string[]) {
    super();
    const lines = [...data, ...more];
    const [master = 0, replica = 0, ...sentinels] = ports;
    this.masterPort = master;
    this.replicaPort = replica;
    this.url = `redis+sentinel://${sentinels.map((port) => `${host}:${port}`).join(",")}/nest`;
    this.spawn(master, [...lines, `user ${follower} on >${follower} +@all`]);
    this.spawn(replica, [
      ...lines,
      `replicaof ${host} ${master}`,
      `masteruser ${follower}`,
      `masterauth ${follower}`,
      "repl-diskless-sync-delay 0",
    ]);
  }

  /** Resolves when the replica has become the master. */
  async promoted(): Promise<void> {
    await this.until(this.replicaPort, async (server) =>
      (await server.info("replication")).includes("role:master"),
    );
  }

  /** From now on the master goes on alone: what it accepts nobody else has. */
  async cutReplication(): Promise<void> {
    const master = new Redis(this.masterPort, host);
    try {
      await master.acl("SETUSER", follower, "off");
      await master.call("CLIENT", "KILL", "TYPE", "replica");
    } finally {
      master.disconnect();
    }
  }

  /** `more`: lines of redis.conf, for both servers. */
  static async start(more: readonly string[] = []): Promise<SentinelFleet> {
    const ports = await freePorts(5);
    const fleet = new SentinelFleet(ports, more);
    await fleet.until(fleet.replicaPort, async (server) =>
      (await server.info("replication")).includes("master_link_status:up"),
    );
    const sentinels = ports.slice(2);
    for (const port of sentinels) {
      const lines = [
        `sentinel monitor nest ${host} ${fleet.masterPort} 2`,
        "sentinel down-after-milliseconds nest 1000",
        "sentinel failover-timeout nest 4000",
      ];
      fleet.spawn(port, lines, ["--sentinel"]);
    }
    for (const port of sentinels) {
      await fleet.until(port, async (server) => {
        const info = await server.info("sentinel");
        return /slaves=1,sentinels=3/.test(info);
      });
    }
    return fleet;
  }
}

export class ClusterFleet extends Fleet {
  readonly url: string;
  readonly ports: readonly number[];

  private constructor(ports: readonly number[]) {
    super();
    this.ports = ports;
    this.url = `redis+cluster://${ports.map((port) => `${host}:${port}`).join(",")}`;
    for (const port of ports) {
      this.spawn(port, [...data, "cluster-enabled yes", "cluster-node-timeout 5000"]);
    }
  }

  /** Three masters, each with as many replicas. */
  static async start(replicas = 0): Promise<ClusterFleet> {
    const fleet = new ClusterFleet(await freePorts(3 * (1 + replicas)));
    for (const port of fleet.ports) {
      await fleet.until(port, async (server) => (await server.ping()) === "PONG");
    }
    const nodes = fleet.ports.map((port) => `${host}:${port}`);
    const order = ["--cluster-replicas", String(replicas), "--cluster-yes"];
    await promisify(execFile)("redis-cli", ["--cluster", "create", ...nodes, ...order]);
    for (const port of fleet.ports) {
      await fleet.until(port, async (server) =>
        (await server.cluster("INFO")).includes("cluster_state:ok"),
      );
    }
    return fleet;
  }
}
