/* SPDX-License-Identifier: MIT */
/* INT 10h: an 80x25 text page at B800:0 that is repeated on the serial port.
 *
 * Characters go to the page and to the port. A terminal that understands ANSI
 * sequences sees the cursor and the colours follow; the sequences are sent only
 * where the terminal is not already as wanted, so plain output stays plain. */
#include "bios/bios.h"

#define ROWS 25
#define COLS 80
#define PAGE_SEG 0xb800
#define cell(row, col) (*(volatile u16 GS *)(((row)*COLS + (col)) * 2))

static u8 term_row, term_col; /* where the terminal's cursor is */
static u8 term_attr = 0x07;   /* and its colours */

static void term_number(unsigned n)
{
    if (n >= 10)
        serial_put((u8)('0' + n / 10));
    serial_put((u8)('0' + n % 10));
}

static void term_csi(void)
{
    serial_put(0x1b);
    serial_put('[');
}

static void term_move(u8 row, u8 col)
{
    if (row == term_row && col == term_col)
        return;
    if (col == 0 && row == term_row) {
        serial_put('\r');
    } else {
        term_csi();
        term_number(row + 1u);
        serial_put(';');
        term_number(col + 1u);
        serial_put('H');
    }
    term_row = row;
    term_col = col;
}

/* VGA's blue is ANSI's 4 and so on: the outer bits change places. */
static unsigned ansi_colour(unsigned vga)
{
    return (vga & 2) | (vga & 1) << 2 | (vga >> 2 & 1);
}

static void term_colour(u8 attr)
{
    if (attr == term_attr)
        return;
    term_csi();
    serial_put('0');
    if (attr != 0x07) {
        if (attr & 8) {
            serial_put(';');
            serial_put('1');
        }
        serial_put(';');
        term_number(30 + ansi_colour(attr & 7));
        serial_put(';');
        term_number(40 + ansi_colour(attr >> 4 & 7));
    }
    serial_put('m');
    term_attr = attr;
}

/* Programs that want a colour write a character twice: AH=09h, which does not
 * move the cursor, then AH=0Eh, which does. The terminal gets it once. */
static void term_char(u8 row, u8 col, u8 c, u8 attr)
{
    static u8 last_row, last_col, last_char;

    if (row == last_row && col == last_col && c == last_char &&
        attr == term_attr && row == term_row && (col + 1) % COLS == term_col)
        return;
    last_row = row;
    last_col = col;
    last_char = c;
    term_move(row, col);
    term_colour(attr);
    serial_put(c == 0                  ? ' '
               : c < 0x20 || c == 0x7f ? '.'
               : c >= 0x80             ? '#'
                                       : c);
    if (++term_col == COLS) { /* terminals differ here: be explicit */
        serial_put('\r');
        term_col = 0;
    }
}

static u16 cursor(void)
{
    set_gs(BDA_SEG);
    return bda16(BDA_CURSOR);
}

static void set_cursor(u8 row, u8 col)
{
    set_gs(BDA_SEG);
    bda16(BDA_CURSOR) = (u16)(row << 8 | col);
}

/* Scrolls a window by n lines (0: clears it), up or down. */
static void scroll(regs r, int up)
{
    u8 top = r->ch, left = r->cl;
    u8 bottom = r->dh < ROWS ? r->dh : ROWS - 1;
    u8 right = r->dl < COLS ? r->dl : COLS - 1;
    unsigned lines = bottom + 1u - top, n = r->al;

    if (top > bottom || left > right)
        return;
    if (n == 0 || n > lines)
        n = lines;
    set_gs(PAGE_SEG);
    for (unsigned i = 0; i < lines; i++) {
        unsigned row = up ? top + i : bottom - i;
        unsigned from = up ? row + n : row - n;
        for (unsigned col = left; col <= right; col++)
            cell(row, col) =
                i + n < lines ? cell(from, col) : (u16)(r->bh << 8 | ' ');
    }
    if (n == lines && top == 0 && left == 0 && bottom == ROWS - 1) {
        term_colour(r->bh);
        term_csi();
        serial_put('2');
        serial_put('J');
        return;
    }
    for (unsigned row = top; row <= bottom; row++)
        for (unsigned col = left; col <= right; col++) {
            set_gs(PAGE_SEG);
            u16 v = cell(row, col);
            term_char((u8)row, (u8)col, (u8)v, (u8)(v >> 8));
        }
}

/* The page moves up by a line, and so does the terminal, by itself. */
static void line_feed(void)
{
    u8 row = (u8)(cursor() >> 8), col = (u8)cursor();

    term_move(row, col);
    serial_put('\n');
    if (row + 1 < ROWS) {
        term_row++;
        set_cursor((u8)(row + 1), col);
        return;
    }
    set_gs(PAGE_SEG);
    for (unsigned i = 0; i < ROWS; i++)
        for (unsigned c = 0; c < COLS; c++)
            cell(i, c) = i + 1 < ROWS ? cell(i + 1, c) : 0x0720;
}

static void teletype(u8 c)
{
    u8 row = (u8)(cursor() >> 8), col = (u8)cursor();
    u16 old;

    switch (c) {
    case '\a':
        serial_put(c);
        return;
    case '\b':
        if (col)
            set_cursor(row, (u8)(col - 1));
        return;
    case '\r':
        set_cursor(row, 0);
        return;
    case '\n':
        line_feed();
        return;
    default:
        break;
    }
    set_gs(PAGE_SEG);
    old = cell(row, col);
    cell(row, col) = (u16)((old & 0xff00) | c);
    term_char(row, col, c, (u8)(old >> 8));
    if (col + 1 < COLS) {
        set_cursor(row, (u8)(col + 1));
        return;
    }
    set_cursor(row, 0);
    line_feed();
}

void print(const char *s)
{
    while (*s)
        teletype((u8)*s++);
}

void print_hex(u32 v, int digits)
{
    while (digits-- > 0)
        teletype((u8) "0123456789ABCDEF"[v >> digits * 4 & 15]);
}

static void clear_page(void)
{
    set_gs(PAGE_SEG);
    for (unsigned i = 0; i < ROWS * COLS; i++)
        cell(0, i) = 0x0720;
}

void video_init(void)
{
    set_gs(BDA_SEG);
    bda8(BDA_VIDEO_MODE) = 3;
    bda16(BDA_COLUMNS) = COLS;
    bda16(BDA_PAGE_SIZE) = 0x1000;
    bda16(BDA_CURSOR_SHAPE) = 0x0607;
    bda16(BDA_CRTC) = 0x3d4;
    bda8(BDA_ROWS) = ROWS - 1;
    bda8(BDA_CHAR_HEIGHT) = 16;
    bda16(BDA_CURSOR) = 0;
    clear_page();
}

/* Setting the mode clears the screen; the terminal only when something is on
 * it, so that a kernel's first call does not wipe what the user saw. */
static void set_mode(u8 mode)
{
    if (!(mode & 0x80))
        clear_page();
    set_cursor(term_row, 0);
    term_move(term_row, 0);
}

/* Write CX times at the cursor, which stays. */
static void write_chars(regs r, int with_attr)
{
    u8 row = (u8)(cursor() >> 8), col = (u8)cursor();

    for (unsigned n = r->cx; n && row < ROWS; n--) {
        set_gs(PAGE_SEG);
        u8 attr = with_attr ? r->bl : (u8)(cell(row, col) >> 8);
        cell(row, col) = (u16)(attr << 8 | r->al);
        term_char(row, col, r->al, attr);
        if (++col == COLS) {
            col = 0;
            row++;
        }
    }
}

/* AL bit 0: the cursor moves; bit 1: characters and attributes alternate. */
static void write_string(regs r)
{
    u16 saved = cursor(), at = r->bp;
    u8 attr = r->bl;

    set_cursor(r->dh, r->dl);
    for (unsigned n = r->cx; n; n--) {
        u8 c;
        set_gs(r->es);
        c = *(volatile u8 GS *)(u32)at++;
        if (r->al & 2)
            attr = *(volatile u8 GS *)(u32)at++;
        if (c >= 0x20) {
            u8 row = (u8)(cursor() >> 8), col = (u8)cursor();
            set_gs(PAGE_SEG);
            cell(row, col) = (u16)(attr << 8 | c);
        }
        teletype(c);
    }
    if (!(r->al & 1))
        set_cursor((u8)(saved >> 8), (u8)saved);
}

static void read_char(regs r)
{
    u16 at = cursor();

    set_gs(PAGE_SEG);
    r->ax = cell(at >> 8, at & 0xff);
}

void int_10(regs r)
{
    switch (r->ah) {
    case 0x00:
        set_mode(r->al);
        break;
    case 0x01:
        set_gs(BDA_SEG);
        bda16(BDA_CURSOR_SHAPE) = r->cx;
        break;
    case 0x02:
        set_cursor(r->dh < ROWS ? r->dh : ROWS - 1,
                   r->dl < COLS ? r->dl : COLS - 1);
        break;
    case 0x03:
        r->dx = cursor();
        r->cx = bda16(BDA_CURSOR_SHAPE);
        break;
    case 0x06:
    case 0x07:
        scroll(r, r->ah == 0x06);
        break;
    case 0x08:
        read_char(r);
        break;
    case 0x09:
    case 0x0a:
        write_chars(r, r->ah == 0x09);
        break;
    case 0x0e:
        teletype(r->al);
        break;
    case 0x0f:
        r->al = 3;
        r->ah = COLS;
        r->bh = 0;
        break;
    case 0x13:
        write_string(r);
        break;
    default: /* fonts, palettes, VESA: a display adapter that has none */
        break;
    }
}
