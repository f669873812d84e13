/* SPDX-License-Identifier: MIT */
/* Firecracker's personality: its command line, its config file, and its API
 * from before the guest runs. */
#ifndef FIRECRACKER_H
#define FIRECRACKER_H

#include "control/config.h"
#include "control/fclog.h"

/* Exit codes of its own. */
enum { FC_EXIT_CONFIG = 152, FC_EXIT_ARGUMENTS = 153 };

/* What it is told on its command line; texts are argv's. */
struct fcargs {
    const char *sock, *id, *config, *metadata;
    const char *log, *level, *module, *metrics;
    const char *body_max, *mmds_max;
    bool no_api, show_level, show_origin, boot_timer, no_filter, pci;
    uint32_t body, mmds; /* bytes, of the two above */
};

/* Is this process called as Firecracker is: by its name, or with one of
 * --api-sock, --config-file and --no-api? */
bool fcargs_meant(int argc, char **argv);
/* Takes argv in, and what it says of the process into *cfg, with the defaults
 * of this personality. 0; 1: done, help or the version is out on stdout;
 * -EINVAL (said). */
int fcargs_parse(struct config *cfg, struct fcargs *a, int argc, char **argv);

/* For main(), in this order, on its thread; all but the first do nothing where
 * it was not called.
 *
 * Opens the socket, on a loop that is made here unless there is one, and is the
 * machine's later; takes the config file in. 0, or an exit code (said). */
int firecracker_begin(struct config *cfg, const struct fcargs *a);
/* What it does inside, and for tests: what a config file says, what a request
 * asks for, and is a start asked for? 0, -EINPROGRESS (it is answered later),
 * or another -errno (said). */
struct http;
struct text;
int firecracker_take_config(const char *text, size_t len);
int firecracker_request(struct http *h, struct text *out);
bool firecracker_is_asked(void);
/* Serves the API until a start is asked for, or returns at once, where the
 * config file asks for it; then what it was told is in *cfg and in the plan. 0
 * or -errno (told to who asked). */
int firecracker_wait(void);
/* Devices are there: they are told what is no option of theirs. 0 or -errno
 * (said). */
int firecracker_open(struct machine *m);
/* The guest runs, or what was loaded waits to. */
void firecracker_runs(void);
/* What its machine is made of, into a state file; nothing of another's. */
struct parts;
void firecracker_put(struct parts *out);
/* What was started has ended, or did not start (`code` is what the process
 * would end with). True: it is waited for another start. */
bool firecracker_again(int *code);
void firecracker_end(void);

#endif
