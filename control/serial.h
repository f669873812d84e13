/* SPDX-License-Identifier: MIT */
/* GET /serial: a client of the API becomes one of the guest's serial port. */
#ifndef CONTROL_SERIAL_H
#define CONTROL_SERIAL_H

#include "control/server.h"
#include "machine/machine.h"

#define SERIAL_RESTS 2 /* such a client, where it may go on (server.h) */

/* From now on `c` speaks with the first serial port. -EINPROGRESS: it is
 * answered; or -errno (said). */
int serial_attach(struct machine *m, struct client *c);

#endif
